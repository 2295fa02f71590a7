"""Prepares and runs a comparison: package, engine, reference, layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rectexport.cli.display import Progress
from rectexport.cli.options import image_scaling
from rectexport.cli.parity.keep import Finished, Request, keep
from rectexport.cli.parity.reference import allowed, make_layers, open_reference
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import BackendOptions, Runner
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines.backends import choose_backend, open_backend
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package, check_outside
from rectexport.runtime.parity.cases import make_cases
from rectexport.runtime.parity.metamorphic import Bound
from rectexport.runtime.parity.run import Setup, run_parity
from rectexport.runtime.parity.stored_reference import ParityReference, StoredReference
from rectexport.runtime.session import Session

if TYPE_CHECKING:
    from rectexport.exporter.checking.layers import InnerReference

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NO_ONNX = "the onnx library is needed for that: pip install 'rectexport[export]'"


def compare_package(request: Request, progress: Progress) -> Finished:
    """Compare; differences are in the result. Raises UsageError, BadInput and MissingDependency."""
    from rectexport.exporter.base.log import Log

    log = Log(progress)
    if request.inputs is not None and request.shapes:
        raise UsageError("--inputs and --input: the files have shapes of their own; give one of the two")
    parse_bytes(request.memory)
    scaling = image_scaling(request.mean, request.std)
    if request.heat_map is not None:
        check_outside(request.heat_map)
        require("matplotlib")
    with ExitStack() as stack:
        with log.step("load"):
            package = Package.open(request.package)
            package.verify_files()
            options = BackendOptions(allow_unproven=request.allow_unproven)
            runner, choice = choose_backend(package, request.backend, options, prove=False)
            engine = stack.enter_context(Session(package, runner, choice))
            reference, inner = open_reference(request.against, package, log)
            stack.callback(reference.close)
            log.say(f"package: {package.path} on {runner.description}")
            log.say(f"reference: {reference.description}")
        opened = partial(open_backend, name=request.backend, options=options, prove=False)
        setup = _setup(request, opened, package, engine, runner, reference, inner)
        with log.step("compare"):
            cases = make_cases(package, request.inputs, request.shapes, scaling)
            outcome = run_parity(setup, cases, progress.named)
    done = Finished(outcome, reference.description, runner.description)
    keep(done, request)
    return done


def _setup(
    request: Request,
    opened: Callable[[Package], Runner],
    package: Package,
    engine: Session,
    runner: Runner,
    reference: ParityReference,
    inner: StoredReference | InnerReference,
) -> Setup:
    plain = isinstance(runner, OnnxRuntimeRunner)
    tolerance = allowed(request.against, package)
    memory = parse_bytes(request.memory)
    return Setup(
        package=package,
        engine=engine,
        reopen=partial(opened, package),
        rebuilt=_rebuilt_bound(plain, tolerance),
        reference=reference,
        tolerance=tolerance,
        layers=make_layers(package, opened, inner, tolerance, memory, plain, request.per_layer, engine.backend.name),
        per_layer=request.per_layer,
        no_layers=_NO_ONNX,
    )


def parse_bytes(text: str) -> int:
    """512M, 1G, 2GiB. Raises UsageError otherwise."""
    match = re.fullmatch(r"(\d{1,12})([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--memory {text!r}: expected a size such as 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _rebuilt_bound(plain: bool, tolerance: Tolerance) -> Bound:
    if plain:
        return Bound(0.0, "ONNX Runtime's CPU provider makes the same kernels from the same file")
    return Bound(
        2 * tolerance.relative_l2,
        "twice the tolerance: the engine may choose other kernels, and each of the two answers may be off by it",
    )
