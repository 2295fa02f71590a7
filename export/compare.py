"""`rectexport.compare`: a package against the PyTorch module that it was made from, by output, layer and region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from torch import nn

from rectexport.exporter.base.options import LoadOptions
from rectexport.exporter.checking.against import SourceReference
from rectexport.exporter.checking.layers import InnerReference, MarkedLayers
from rectexport.exporter.checking.stored_tensors import StoredTensors
from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.logs import logged
from rectexport.runtime.base.notebook import bar
from rectexport.runtime.base.runner import BackendOptions, silent
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines.backends import AUTO, choose_backend, open_backend
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.cases import make_cases
from rectexport.runtime.parity.metamorphic import Bound
from rectexport.runtime.parity.outcome import ParityOutcome
from rectexport.runtime.parity.run import Setup, run_parity
from rectexport.runtime.parity.stored_reference import ParityReference, StoredReference
from rectexport.runtime.session import Session

#: Bytes for inner tensors at a time.
MEMORY = 512 << 20


def compare(
    package: str | Path | Package,
    model: nn.Module | str | Path | None = None,
    *,
    backend: str = AUTO,
    shapes: Sequence[str] = (),
    per_layer: bool = True,
    tolerance: float | None = None,
    progress: Callable[[str], None] = silent,
) -> ParityOutcome:
    """Compare a package with a model over its range of sizes, and with itself, as `rectexport parity` does.

    package     its folder
    model       the PyTorch module, or a model file that `rectexport.load_model` takes; a copy runs in eval mode, in
                float64. None takes the package's own ONNX file, without the engine's optimizations
    backend     the engine
    shapes      sizes in place of the sweep, as `rectexport parity --input` takes them: x:1x3x224x224
    per_layer   compare every inner tensor [N, C, H, W] too, with corners, edges and interior apart
    tolerance   largest relative L2 of an output; the default is the package's
    progress    called with a line of text before each step

    Returns a ParityOutcome; what differs is in it and raises nothing. Raises BadInput for a package or model that
    cannot be used, UsageError for shapes that do not parse, MissingDependency for a missing engine.
    """
    opened = package if isinstance(package, Package) else Package.open(package)
    opened.verify_files()
    own = bar() if progress is silent else None
    tell = logged(own.said if own else progress)
    options = BackendOptions(allow_unproven=True)
    entries = dict(opened.manifest.tolerances) if tolerance is None else {"relative_l2": tolerance}
    allowed = Tolerance.from_dict(entries)
    with ExitStack() as stack:
        runner, choice = choose_backend(opened, backend, options, prove=False)
        engine = stack.enter_context(Session(opened, runner, choice))
        reference, inner = _reference(model, opened)
        stack.callback(reference.close)
        reopened = partial(open_backend, name=choice.name, options=options, prove=False)
        layers = MarkedLayers(opened, reopened, inner, allowed, MEMORY, choice.name == "onnxruntime", choice.name)
        setup = Setup(
            package=opened,
            engine=engine,
            reopen=partial(reopened, opened),
            rebuilt=Bound(2 * allowed.relative_l2, "twice the tolerance: the engine may choose other kernels"),
            reference=reference,
            tolerance=allowed,
            layers=layers,
            per_layer=per_layer,
        )
        outcome = run_parity(setup, make_cases(opened, None, shapes, ImageScaling()), tell)
    if own is not None:
        own.close()
    return outcome


def _reference(model: nn.Module | str | Path | None, package: Package) -> tuple[ParityReference, InnerReference]:
    """The reference of the outputs, and of inner tensors."""
    if model is None:
        stored = StoredReference(package.model_file, package, "the package's own model")
        return stored, StoredTensors(stored, package)
    if isinstance(model, nn.Module):
        source = SourceReference.of_module(model, package)
        return source, source
    if not isinstance(model, str | Path):
        raise BadInput(f"model: expected a torch.nn.Module or a model file, got {type(model).__name__}")
    source = SourceReference.of_file(Path(model), package, LoadOptions())
    return source, source
