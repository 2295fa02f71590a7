"""The backends that a package can run on, and the choice between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import missing, require
from rectexport.runtime.base.runner import Runner
from rectexport.runtime.engines.cuda import libraries as cuda_libraries
from rectexport.runtime.errors import MissingDependency, RectexportError, UsageError
from rectexport.runtime.package.folder import Package

AUTO, TORCH = "auto", "torch"


def silent(text: str) -> None:
    """Ignore a progress message."""


@dataclass(frozen=True)
class BackendOptions:
    """What an engine may be told.

    device       index of the GPU
    threads      of the CPU engines, 0 for their own choice
    prefer_nhwc  ONNX Runtime CUDA: convolutions in NHWC, with ONNX Runtime's own transposes around them
    cuda_graphs  ONNX Runtime CUDA: record each input shape once and replay it
    rebuild      TensorRT: build a plan for this machine where the package has none that fits
    plugins      TensorRT: plugin libraries besides the package's own
    model        torch: the module to run
    progress     called with a line of text before each step that takes time
    """

    device: int = 0
    threads: int = 0
    prefer_nhwc: bool = False
    cuda_graphs: bool = False
    rebuild: bool = False
    plugins: Sequence[str | Path] = ()
    model: Any = None
    progress: Callable[[str], None] = silent


@dataclass(frozen=True)
class Backend:
    """An engine by name. absent() says why this machine lacks it, or None; open() loads a package on it."""

    name: str
    absent: Callable[[], str | None]
    open: Callable[[Package, BackendOptions], Runner]


@dataclass(frozen=True)
class Choice:
    """The chosen backend, and why the ones before it in the order of `auto` were not taken."""

    name: str
    description: str
    not_taken: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.not_taken.items())
        return f"{self.name} ({self.description}){reasons}"


def open_backend(package: Package, name: str = AUTO, options: BackendOptions | None = None) -> Runner:
    """Load a package on a backend. Raises as `choose_backend` does."""
    return choose_backend(package, name, options)[0]


def choose_backend(package: Package, name: str = AUTO, options: BackendOptions | None = None) -> tuple[Runner, Choice]:
    """Load a package on the named backend or, for "auto", on the first of BACKENDS that is available and loads it.

    "auto" warns of a backend that is installed but fails. Raises UsageError for an unknown name, MissingDependency for
    a backend that this machine lacks, BadInput for a model that the engine refuses.
    """
    chosen = options or BackendOptions()
    if name == AUTO:
        return _first(package, chosen)
    backend = next((backend for backend in BACKENDS if backend.name == name), None)
    if backend is None:
        known = ", ".join([AUTO, *(backend.name for backend in BACKENDS)])
        raise UsageError(f"unknown backend {name!r}, expected one of {known}")
    reason = backend.absent()
    if reason:
        raise MissingDependency(f"backend {name}: {reason}")
    runner = backend.open(package, chosen)
    return runner, Choice(name, runner.description)


def _first(package: Package, options: BackendOptions) -> tuple[Runner, Choice]:
    not_taken: dict[str, str] = {}
    last: RectexportError | None = None
    for backend in BACKENDS:
        if backend.name == TORCH:
            continue
        reason = backend.absent()
        if reason is None:
            try:
                runner = backend.open(package, options)
                return runner, Choice(backend.name, runner.description, not_taken)
            except RectexportError as error:
                reason, last = str(error), error
                warnings.warn(f"backend {backend.name} is installed but failed to load: {reason}", RuntimeWarning, 4)
        not_taken[backend.name] = reason
    if last is not None:
        raise last
    reasons = "; ".join(f"{name}: {reason}" for name, reason in not_taken.items())
    raise MissingDependency(f"no inference engine is available: {reasons}")


def _no_tensorrt() -> str | None:
    from rectexport.runtime.engines.tensorrt.versions import absence

    return absence()


def _open_tensorrt(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.tensorrt.running.runner import open_runner

    return open_runner(package, options)


def _no_cuda() -> str | None:
    return cuda_libraries.no_gpu() or missing("onnxruntime") or cuda_libraries.no_provider(require("onnxruntime"))


def _open_cuda(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.cuda.runner import CudaRunner

    return CudaRunner(package, options)


def _open_openvino(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.openvino_runner import OpenVinoRunner

    names = [entry.name for entry in package.manifest.outputs]
    return OpenVinoRunner(package.model_file, threads=options.threads, outputs=names)


def _open_onnxruntime(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    return OnnxRuntimeRunner(package.model_file, threads=options.threads)


def _open_torch(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.torch_runner import TorchRunner

    if options.model is None:
        raise UsageError("backend torch runs a module instead of the package's file: pass it as model=")
    return TorchRunner(options.model, package.manifest)


#: `auto` tries them in this order, fastest first. torch is for comparisons; `auto` never takes it.
BACKENDS = (
    Backend("tensorrt", _no_tensorrt, _open_tensorrt),
    Backend("cuda", _no_cuda, _open_cuda),
    Backend("openvino", lambda: missing("openvino"), _open_openvino),
    Backend("onnxruntime", lambda: missing("onnxruntime"), _open_onnxruntime),
    Backend(TORCH, lambda: None, _open_torch),
)
