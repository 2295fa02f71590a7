"""Time a PyTorch model in a worker process, for `rectexport bench --vs torch`.

Started as `python -m rectexport.exporter.tools.torch_worker SPEC`; see rectexport.runtime.timing.worker. SPEC holds

    source                                      the model's file
    arch, model, weights, …                     the fields of LoadOptions, each of which may be left out
    compile                                     whether to call torch.compile, with its defaults, first
    device                                      "cpu" or "cuda:N"
    threads, inputs, transfers                  as for every worker

Runs in eval and inference mode, eagerly unless compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, final

import torch

from rectexport.exporter.base.quiet import quiet
from rectexport.exporter.frontend.arguments import program_module
from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.frontend.source import Source, in_eval_mode
from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.timing.timers import EventTimer, HostTimer, Timer
from rectexport.runtime.timing.worker import serve

_NO_COMPILER = ("InvalidCxxCompiler", "CppCompileError", "TritonMissing")


@final
class TorchModel:
    """A loaded module that runs on one device."""

    inputs: tuple[TensorSpec, ...] = ()  # a module does not record them; the spec has them

    def __init__(self, source: Source, *, compile: bool, device: str, threads: int, transfers: bool) -> None:
        torch.set_num_threads(threads)
        module = _callable(source).to(device)
        self._module = torch.compile(module) if compile else module
        self._compiled, self._device, self._transfers = compile, device, transfers
        if device != "cpu":
            torch.cuda.set_device(device)  # the timer's events are created on the current device

    @property
    def description(self) -> str:
        how = "torch.compile" if self._compiled else "eager"
        tf32 = ", TF32 in convolutions" if self._device != "cpu" and torch.backends.cudnn.allow_tf32 else ""
        return f"PyTorch {torch.__version__}, {how}, {self._device.partition(':')[0].upper()}{tf32}"

    @property
    def timer(self) -> Timer:
        if self._device == "cpu" or self._transfers:
            return HostTimer()  # a call ends with the result in host memory, so the host's clock covers all of it
        return EventTimer(lambda: torch.cuda.Event(enable_timing=True))

    @property
    def transfers(self) -> str:
        if self._device == "cpu":
            return "none, all is on the host"
        return "included" if self._transfers else "excluded"

    def prepare(self, feeds: Mapping[str, Array]) -> Callable[[], object]:
        tensors = [torch.from_numpy(array) for array in feeds.values()]
        if self._transfers and self._device != "cpu":
            return lambda: _on_host(self._run([tensor.to(self._device) for tensor in tensors]))
        placed = [tensor.to(self._device) for tensor in tensors]
        return lambda: self._run(placed)

    def _run(self, tensors: list[torch.Tensor]) -> Any:
        with torch.inference_mode():
            try:
                return self._module(*tensors)
            except Exception as error:
                raise _explained(error) from error


def open_model(spec: Mapping[str, Any]) -> TorchModel:
    """Load the model of a spec. Raises BadInput for a source that is not a PyTorch model."""
    given = {entry.name: spec[entry.name] for entry in fields(LoadOptions) if entry.name in spec}
    options = LoadOptions(**{**given, "model_args": tuple(given.get("model_args", ()))})
    with quiet():
        source = load_source(Path(spec["source"]), options)
        return TorchModel(
            source,
            compile=spec["compile"],
            device=spec["device"],
            threads=spec["threads"],
            transfers=spec["transfers"],
        )


def _callable(source: Source) -> Any:
    if source.kind == "onnx":
        raise BadInput(f"{source.name} is an ONNX file, which PyTorch does not run; export it and use --vs PACKAGE")
    return program_module(source.model) if source.kind == "program" else in_eval_mode(source.model)


def _on_host(results: Any) -> Any:
    return torch.utils._pytree.tree_map(lambda value: value.cpu() if hasattr(value, "cpu") else value, results)


def _explained(error: Exception) -> Exception:
    """MissingDependency for a missing compiler; any other error unchanged."""
    kinds = {type(entry).__name__ for entry in (error, error.__cause__, error.__context__)}
    if kinds.intersection(_NO_COMPILER) or "C++ compiler" in str(error):
        return MissingDependency(
            "torch.compile found no working C++ compiler: install one (apt-get install g++) or name it in CXX; "
            "--vs torch times the model without compiling"
        )
    return error


if __name__ == "__main__":
    serve(open_model)
