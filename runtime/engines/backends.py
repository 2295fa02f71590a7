"""The table of inference engines, and the choice of one for a session."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from rectexport.runtime.base.environment import missing, require
from rectexport.runtime.base.runner import BackendOptions, Runner
from rectexport.runtime.engines.cuda import libraries as cuda_libraries
from rectexport.runtime.engines.proving import Verdict, engine_version, verdict_on
from rectexport.runtime.errors import MissingDependency, Option, ParityError, RectexportError, UsageError
from rectexport.runtime.layouts import PLAIN
from rectexport.runtime.package.folder import Package

AUTO, TORCH = "auto", "torch"
#: The end of an error about an engine that disagrees with the source model.
_ALL_THE_SAME = (Option("allow_unproven", True), " to run it all the same")


@dataclass(frozen=True)
class Backend:
    """One engine. absent() gives the reason why this machine cannot run it, or None; open() loads a package on it.

    version() is the engine's, by which proofs are found. Without it none is asked for: a TensorRT plan is compared with
    the goldens when it is built, and PyTorch is what packages are compared with.
    """

    name: str
    absent: Callable[[], str | None]
    open: Callable[[Package, BackendOptions], Runner]
    version: Callable[[], str] | None = None


@dataclass(frozen=True)
class Choice:
    """The backend that was chosen, and the reasons against those before it in the order of `auto`.

    verdict says whether its answers agree with the source model's, and what shows it; None where nothing was asked.
    """

    name: str
    description: str
    not_taken: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None

    def __str__(self) -> str:
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.not_taken.items())
        return f"{self.name} ({self.description}){reasons}"


def open_backend(
    package: Package, name: str = AUTO, options: BackendOptions | None = None, prove: bool = True
) -> Runner:
    """Open the package on one backend. Raises as `choose_backend` does."""
    return choose_backend(package, name, options, prove)[0]


def choose_backend(
    package: Package, name: str = AUTO, options: BackendOptions | None = None, prove: bool = True
) -> tuple[Runner, Choice]:
    """Open the package on the named backend. With "auto", open it on the first of BACKENDS that loads it and agrees.

    Whether an engine agrees with the source model is known from the package's proofs, from an earlier comparison on
    this machine, or by running the goldens (see `proving`). prove=False leaves that out for a named backend.

    Raises UsageError for an unknown name, MissingDependency for a backend that is not available on this machine,
    BadInput for a model that the engine refuses, ParityError for a named engine that disagrees, unless
    options.allow_unproven. "auto" warns about a backend that is installed but fails or disagrees.
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
    verdict = _verdict(backend, package, runner, chosen) if prove and not chosen.allow_unproven else None
    if verdict is not None and verdict.agrees is False:
        runner.close()
        raise ParityError(
            f"backend {name}: {runner.description} disagrees with the source model: {verdict.reason}; "
            "use another backend, or ",
            *_ALL_THE_SAME,
        )
    return runner, Choice(name, runner.description, verdict=verdict)


def _verdict(backend: Backend, package: Package, runner: Runner, options: BackendOptions) -> Verdict | None:
    if backend.version is None:
        return None
    plain = backend.name == "onnxruntime" and options.layout == PLAIN  # proofs are made in the engine's own layout
    engine = f"{backend.name} (layout {PLAIN})" if plain else backend.name
    return verdict_on(package, engine, backend.version(), runner, options.progress)


def _first(package: Package, options: BackendOptions) -> tuple[Runner, Choice]:
    not_taken: dict[str, str] = {}
    last: RectexportError | None = None
    for backend in BACKENDS:
        if backend.name == TORCH:
            continue
        reason = backend.absent()
        if reason is None:
            try:
                runner, verdict = _open_proven(backend, package, options)
                return runner, Choice(backend.name, runner.description, not_taken, verdict)
            except ParityError as error:
                reason, last = str(error), error
                warnings.warn(f"backend {backend.name} is passed over: {reason}", RuntimeWarning, 4)
            except RectexportError as error:
                reason, last = str(error), error
                warnings.warn(f"backend {backend.name} is installed but failed to load: {reason}", RuntimeWarning, 4)
        not_taken[backend.name] = reason
    if isinstance(last, ParityError):
        raise ParityError(*last.args, "; ", *_ALL_THE_SAME)
    if last is not None:
        raise last
    reasons = "; ".join(f"{name}: {why}" for name, why in not_taken.items())
    raise MissingDependency(f"no inference engine is available: {reasons}")


def _open_proven(backend: Backend, package: Package, options: BackendOptions) -> tuple[Runner, Verdict | None]:
    """Raises ParityError for an engine that is known, or found, to disagree with the source model."""
    runner = backend.open(package, options)
    verdict = _verdict(backend, package, runner, options)
    if verdict is not None and verdict.agrees is False and not options.allow_unproven:
        runner.close()
        raise ParityError(f"{runner.description} disagrees with the source model: {verdict.reason}")
    return runner, verdict


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
    model = package.model_for("openvino")
    return OpenVinoRunner(model, threads=options.threads, outputs=names, streams=options.streams)


def _open_onnxruntime(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    model = package.model_for("onnxruntime")
    return OnnxRuntimeRunner(model, threads=options.threads, layout=options.layout)


def _open_torch(package: Package, options: BackendOptions) -> Runner:
    from rectexport.runtime.engines.torch_runner import TorchRunner

    if options.model is None:
        raise UsageError("backend torch runs a PyTorch module instead of the package's file: pass the module as model=")
    return TorchRunner(options.model, package.manifest)


#: `auto` tries them in this order, fastest first. It never chooses torch, which is for comparisons.
BACKENDS = (
    Backend("tensorrt", _no_tensorrt, _open_tensorrt),
    Backend("cuda", _no_cuda, _open_cuda, partial(engine_version, "cuda")),
    Backend("openvino", lambda: missing("openvino"), _open_openvino, partial(engine_version, "openvino")),
    Backend("onnxruntime", lambda: missing("onnxruntime"), _open_onnxruntime, partial(engine_version, "onnxruntime")),
    Backend(TORCH, lambda: None, _open_torch),
)
