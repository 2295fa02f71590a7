"""Puts a comparison together from what was asked for: package, engine, reference, layers; and keeps what failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rectexport.cli.display import Progress
from rectexport.runtime.environment import require
from rectexport.runtime.errors import BadInput, RectexportError, UsageError
from rectexport.runtime.files import replaced_file
from rectexport.runtime.heat_map import draw_heat_map
from rectexport.runtime.input_files import ImageScaling
from rectexport.runtime.metamorphic import Bound
from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package import Package
from rectexport.runtime.parity_cases import make_cases
from rectexport.runtime.parity_run import Layers, Outcome, Setup, run_parity
from rectexport.runtime.runner import Runner
from rectexport.runtime.session import Session
from rectexport.runtime.stored_reference import Reference, StoredReference
from rectexport.runtime.tolerance import Tolerance

if TYPE_CHECKING:
    from rectexport.exporter.layers import Tensors
    from rectexport.exporter.log import Log

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NO_ONNX = "it takes the onnx library: pip install 'rectexport[export]'"


@dataclass(frozen=True)
class Against:
    """The reference that was asked for: none is the package's own ONNX."""

    model: Path | None
    arch: str | None
    trust_pickle: bool
    rectify_model: bool
    tolerance: float | None

    def words(self) -> list[str]:
        """The options that ask for it again."""
        words = [] if self.model is None else ["--against", str(self.model)]
        words += [] if self.arch is None else ["--arch", self.arch]
        words += ["--trust-pickle"] if self.trust_pickle else []
        words += ["--rectify-model"] if self.rectify_model else []
        return words + ([] if self.tolerance is None else ["--tolerance", str(self.tolerance)])


@dataclass(frozen=True)
class Request:
    """The command's options, as they were typed."""

    package: Path
    against: Against
    backend: str
    inputs: Path | None
    mean: str
    std: str
    shapes: tuple[str, ...]
    per_layer: bool
    memory: str
    heat_map: Path | None
    out: Path


@dataclass
class Finished:
    """A finished comparison; reproduce is the command that shows a failure again, from the inputs that were kept."""

    outcome: Outcome
    reference: str
    backend: str
    files: list[Path] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    reproduce: list[str] = field(default_factory=list)


def compare_package(request: Request, progress: Progress) -> Finished:
    """Raises UsageError, BadInput and MissingDependency; what differs is in the outcome."""
    from rectexport.exporter.log import Log

    log = Log(progress)
    if request.inputs is not None and request.shapes:
        raise UsageError("--inputs and --shapes: the files have their own shapes; give one of the two")
    parse_bytes(request.memory)
    scaling = ImageScaling(_numbers(request.mean, "--mean"), _numbers(request.std, "--std"))
    if 0.0 in scaling.std:
        raise UsageError(f"--std {request.std}: expected numbers other than 0")
    if request.heat_map is not None:
        require("matplotlib")
    with ExitStack() as stack:
        with log.step("load"):
            package = Package.open(request.package)
            package.verify_files()
            runner = open_runner(package, request.backend)
            engine = stack.enter_context(Session(package, runner))
            reference, inner = _reference(request.against, package, log)
            stack.callback(reference.close)
            log.say(f"package: {package.path} on {describe(runner)}")
            log.say(f"reference: {reference.description}")
        setup = _setup(request, package, engine, runner, reference, inner)
        with log.step("compare"):
            cases = make_cases(package, request.inputs, request.shapes, scaling)
            outcome = run_parity(setup, cases, progress.named)
    done = Finished(outcome, reference.description, describe(runner))
    _keep(done, request)
    return done


def _setup(
    request: Request, package: Package, engine: Session, runner: Runner, reference: Reference, inner: Any
) -> Setup:
    plain = isinstance(runner, OnnxRuntimeRunner)
    tolerance = _tolerance(request.against, package)
    opened = partial(open_runner, backend=request.backend)
    memory = parse_bytes(request.memory)
    return Setup(
        package=package,
        engine=engine,
        reopen=partial(opened, package),
        rebuilt=_rebuilt_bound(plain, tolerance),
        reference=reference,
        tolerance=tolerance,
        layers=_layers(package, opened, inner, tolerance, memory, plain, request.per_layer),
        per_layer=request.per_layer,
        no_layers=_NO_ONNX,
    )


def open_runner(package: Package, backend: str) -> Runner:
    """The package on a backend. Raises UsageError for an unknown one."""
    if backend not in ("auto", "onnxruntime"):
        raise UsageError(f"--backend {backend}: expected auto or onnxruntime")
    return OnnxRuntimeRunner(package.model_file)


def describe(runner: Runner) -> str:
    """The engine, for people."""
    return f"ONNX Runtime {require('onnxruntime').__version__}, CPU"


def parse_bytes(text: str) -> int:
    """512M, 1G, 2GiB. Raises UsageError otherwise."""
    match = re.fullmatch(r"(\d{1,12})([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--memory {text!r}: expected a size such as 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(np.isfinite(numbers)):
        raise UsageError(f"{flag} {text!r}: expected one number, or one a channel between commas")
    return numbers


def _reference(against: Against, package: Package, log: Log) -> tuple[Reference, Any]:
    """The outputs' reference, and how to make that of the inner tensors; the latter is None without onnx."""
    path = against.model
    if path is not None and not path.is_dir() and path.suffix != ".onnx":
        return _source(path, against, package, log)
    if against.arch or against.trust_pickle or against.rectify_model:
        raise UsageError("--arch, --trust-pickle and --rectify-model are for --against with a checkpoint")
    if path is None:
        stored = StoredReference(package.model_file, package, "the package's own model")
    elif path.is_dir():
        other = Package.open(path)
        other.verify_files()
        stored = StoredReference(other.model_file, package, f"package {path}")
    else:
        if not path.is_file():
            raise BadInput(f"{path}: no such file (--against)")
        stored = StoredReference(path, package, str(path))
    return stored, stored


def _source(path: Path, against: Against, package: Package, log: Log) -> tuple[Reference, Any]:
    for library in ("torch", "onnx", "onnxscript", "onnx_graphsurgeon"):
        require(library)
    from rectexport.exporter.against import SourceReference
    from rectexport.exporter.load import LoadOptions

    source = SourceReference(path, package, LoadOptions(against.arch, against.trust_pickle, against.rectify_model))
    log.say(source.note)
    return source, source


def _layers(
    package: Package,
    opened: Callable[[Package], Runner],
    reference: Any,
    tolerance: Tolerance,
    memory: int,
    counts_nodes: bool,
    required: bool,
) -> Layers | None:
    libraries = ("onnx", "onnx_graphsurgeon")
    if required:
        for library in libraries:
            require(library)
    if any(find_spec(library) is None for library in libraries):
        return None
    from rectexport.exporter.against import StoredTensors
    from rectexport.exporter.layers import MarkedLayers

    tensors: Tensors = StoredTensors(reference, package) if isinstance(reference, StoredReference) else reference
    return MarkedLayers(package, opened, tensors, tolerance, memory, counts_nodes)


def _tolerance(against: Against, package: Package) -> Tolerance:
    """The package's own, the looser of the two where the other is a package, or what was asked for."""
    entries = dict(package.manifest.tolerances)
    if against.model is not None and against.model.is_dir():
        other = Package.open(against.model).manifest.tolerances
        entries["relative_l2"] = max(entries.get("relative_l2", 0.0), other.get("relative_l2", 0.0))
    if against.tolerance is not None:
        entries = {"relative_l2": against.tolerance}
    return Tolerance.from_dict(entries)


def _rebuilt_bound(plain: bool, tolerance: Tolerance) -> Bound:
    if plain:
        return Bound(0.0, "ONNX Runtime's CPU provider makes the same kernels of the same file")
    return Bound(
        2 * tolerance.relative_l2,
        "twice the tolerance: the engine may choose other kernels, and each of the two answers may be off by it",
    )


def _keep(done: Finished, request: Request) -> None:
    """The heat map where it was asked for; on a failure also the inputs, in a folder beside the package."""
    outcome = done.outcome
    picture = request.heat_map
    if not outcome.passed:
        kept = request.out / "inputs.npz"
        _save_inputs(done, kept)
        picture = picture or request.out / "heat-map.png"
        done.reproduce = _command(request, kept, done)
    if picture is None or outcome.exhibit.score < 0:
        return
    try:
        draw_heat_map(picture, outcome.exhibit.title, outcome.exhibit.expected, outcome.exhibit.actual)
    except RectexportError as error:
        if request.heat_map is not None:
            raise
        done.written.append(f"no heat map: {error}")
        return
    done.files.append(picture)
    done.written.append(f"heat map of {outcome.exhibit.title}: {picture}")


def _save_inputs(done: Finished, path: Path) -> None:
    feeds: Any = done.outcome.failed_feeds or {}
    try:
        with replaced_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **feeds)
    except RectexportError as error:
        done.written.append(f"the inputs were not kept: {error}")
        return
    done.files.append(path)
    done.written.append(f"inputs of the first failure: {path}")


def _command(request: Request, kept: Path, done: Finished) -> list[str]:
    """With the stored answers only the goldens themselves can fail: then nothing replaces them."""
    first = next((case.label for case in done.outcome.cases if case.failures), "")
    fed = [] if first == "goldens" or kept not in done.files else ["--inputs", str(kept)]
    words = ["rectexport", "parity", str(request.package), *request.against.words(), *fed, "--per-layer"]
    return words + ([] if request.backend == "auto" else ["--backend", request.backend])
