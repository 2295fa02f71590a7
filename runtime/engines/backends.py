"""The engines that a package can run on, and which of them a session takes."""

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
    """Progress that nobody listens to."""


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
    """An engine by name: why it is absent here, or None; and how a package is opened on it."""

    name: str
    absent: Callable[[], str | None]
    open: Callable[[Package, BackendOptions], Runner]


@dataclass(frozen=True)
class Choice:
    """The backend that was taken, and why those before it in `auto`'s order were not."""

    name: str
    description: str
    not_taken: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.not_taken.items())
        return f"{self.name} ({self.description}){reasons}"


def open_backend(package: Package, name: str = AUTO, options: BackendOptions | None = None) -> Runner:
    """The package on one backend; raises as `choose_backend` does."""
    return choose_backend(package, name, options)[0]


def choose_backend(package: Package, name: str = AUTO, options: BackendOptions | None = None) -> tuple[Runner, Choice]:
    """The package on the backend of that name, or on the first of BACKENDS that is present and opens.

    Raises UsageError for an unknown name, MissingDependency for a backend that this machine lacks, BadInput for a
    model that the engine refuses. `auto` warns of a backend that is present and fails.
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
                warnings.warn(f"backend {backend.name} is here but does not open: {reason}", RuntimeWarning, 4)
        not_taken[backend.name] = reason
    if last is not None:
        raise last
    raise MissingDependency("no backend is here: " + "; ".join(f"{name}: {why}" for name, why in not_taken.items()))


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
        raise UsageError("backend torch runs a module and not the package's file: give it as model=")
    return TorchRunner(options.model, package.manifest)


#: `auto` tries them in this order: fastest first. torch is for comparing, and never taken by itself.
BACKENDS = (
    Backend("tensorrt", _no_tensorrt, _open_tensorrt),
    Backend("cuda", _no_cuda, _open_cuda),
    Backend("openvino", lambda: missing("openvino"), _open_openvino),
    Backend("onnxruntime", lambda: missing("onnxruntime"), _open_onnxruntime),
    Backend(TORCH, lambda: None, _open_torch),
)
