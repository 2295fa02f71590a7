"""Compares a package with a reference case by case, runs the metamorphic checks, and finds the first wrong layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.base.tolerance import LAYER_FACTOR, Tolerance
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.cases import Case
from rectexport.runtime.parity.metamorphic import Bound, Engine, Subject, rows_of, run_checks
from rectexport.runtime.parity.outcome import Exhibit, ParityOutcome
from rectexport.runtime.parity.reports import (
    CaseReport,
    LayerReport,
    compare_outputs,
    first_divergence,
    judge_layers,
    worst_region,
)
from rectexport.runtime.parity.stored_reference import ParityReference
from rectexport.runtime.parity.sweep import batch_dimension, feeds_of

#: Rows of a batch that inner tensors are compared on; all rows if only the whole batch fails.
LAYER_ROWS = 2
STORED = "the stored answers"


class Layers(Protocol):
    """Compares inner tensors."""

    def compare(self, feeds: Mapping[str, Array], exhibit: Exhibit) -> list[LayerReport]:
        """Compare every tensor that both sides have, in the order they run, and offer each to the exhibit."""

    @property
    def notes(self) -> Sequence[str]:
        """Remarks about the comparisons so far, for people."""


@dataclass(frozen=True)
class Setup:
    """What is compared with what. If inner tensors cannot be compared, layers is None and `no_layers` says why."""

    package: Package
    engine: Engine
    reopen: Callable[[], Engine]
    rebuilt: Bound
    reference: ParityReference
    tolerance: Tolerance
    layers: Layers | None
    per_layer: bool
    no_layers: str = ""


def run_parity(setup: Setup, cases: Iterator[Case], tell: Callable[[str], None]) -> ParityOutcome:
    """Compare every case, then run the metamorphic checks; if a case fails, find its first diverging layer.

    tell is called with the name of each step. Raises BadInput for inputs that the package does not take, and when the
    reference takes none of them.
    """
    outcome = ParityOutcome(setup.tolerance)
    bases: list[Case] = []
    looked_at: set[tuple[Shape, ...]] = set()
    refused = 0
    for case in cases:
        tell(f"{case.label} {_shapes(case.shapes)}")
        actual = _run(setup.engine, case)
        if case.stored is None and not setup.reference.accepts(case.shapes):
            refused += 1
            continue
        report = _compare(setup, case, actual, outcome)
        if setup.per_layer and case.stored is None:
            _compare_layers(setup, case, report, outcome, looked_at)
        outcome.cases.append(report)
        if report.failures and outcome.failed_feeds is None:
            outcome.failed_feeds = case.feeds
            _localise(setup, case, report, outcome, tell)
        if not bases or case.label == "odd":
            bases.append(case)
    if not outcome.cases:
        raise BadInput(f"nothing was compared: {setup.reference.description} takes none of these sizes")
    if refused:
        outcome.notes.append(f"{refused} sizes were skipped: the reference does not take them")
    for case in bases:
        _check(setup, case, outcome, tell)
    outcome.notes.extend(setup.layers.notes if setup.layers else ())
    return outcome


def _compare(setup: Setup, case: Case, actual: Mapping[str, Array], outcome: ParityOutcome) -> CaseReport:
    source = STORED if case.stored is not None else setup.reference.description
    report = CaseReport(case.label, case.shapes, reference=source)
    expected = case.stored if case.stored is not None else setup.reference.outputs(case.feeds)
    missing = set(actual) - set(expected)
    if missing:
        raise BadInput(f"{setup.package.path}: output {sorted(missing)[0]} is missing in {source}")
    compare_outputs(report, {name: expected[name] for name in actual}, actual, setup.tolerance)
    for name, whole in report.outputs.items():
        score = max(
            _ratio(whole.relative_l2, setup.tolerance.relative_l2),
            _ratio(worst_region(whole, report.regions[name])[1], LAYER_FACTOR * setup.tolerance.relative_l2),
        )
        outcome.outputs.offer(f"output {name}, {case.label}", score, expected[name], actual[name])
    return report


def _compare_layers(
    setup: Setup, case: Case, report: CaseReport, outcome: ParityOutcome, looked_at: set[tuple[Shape, ...]]
) -> None:
    """Compare inner tensors on the first rows of the batch; skip shapes that were compared already."""
    feeds = case.cut(setup.package.manifest.inputs, LAYER_ROWS)
    shapes = tuple(array.shape for array in feeds.values())
    if setup.layers is None or shapes in looked_at:
        return
    looked_at.add(shapes)
    _look_inside(setup, setup.layers, feeds, report, outcome)


def _look_inside(
    setup: Setup, layers: Layers, feeds: Mapping[str, Array], report: CaseReport, outcome: ParityOutcome
) -> None:
    report.layers = layers.compare(feeds, outcome.inner)
    judge_layers(report, setup.tolerance)
    outcome.divergence = outcome.divergence or first_divergence(report.layers, setup.tolerance)


def _localise(
    setup: Setup, case: Case, report: CaseReport, outcome: ParityOutcome, tell: Callable[[str], None]
) -> None:
    """Find the first diverging layer of a failed case, on all its rows, unless it is known already."""
    if outcome.divergence is not None:
        return
    if setup.layers is None:
        outcome.notes.append(f"the first layer to diverge is not known: {setup.no_layers}")
        return
    tell(f"looking for the layer, {case.label}")
    _look_inside(setup, setup.layers, case.feeds, report, outcome)
    if outcome.divergence is None:
        outcome.notes.append(_unlocated(setup, case))


def _unlocated(setup: Setup, case: Case) -> str:
    if case.stored is not None:
        return (
            f"every inner tensor agrees with {setup.reference.description}, but the stored answers differ: either both "
            "compute the same fault or the goldens are wrong; compare --against the model that was exported"
        )
    return (
        "no inner tensor diverges when it is exposed as an output: the fault is after the last one compared, or in a "
        "fusion of the engine that exposing the tensors prevents"
    )


def _check(setup: Setup, case: Case, outcome: ParityOutcome, tell: Callable[[str], None]) -> None:
    entries = setup.package.manifest.inputs
    batch = batch_dimension(entries)
    shapes, feeds = case.shapes, case.feeds
    if batch is not None:
        rows = rows_of(batch.low, batch.high)
        shapes = {name: (rows, *shape[1:]) for name, shape in shapes.items()}
    if shapes != case.shapes:  # else keep the feeds: they may be those of a failure
        feeds = feeds_of(shapes, case.feeds, "metamorphic")
    limits = "fixed batch" if batch is None else (batch.low, batch.high)
    tell(f"metamorphic checks, {_shapes(shapes)}")
    subject = Subject(setup.engine, setup.reopen, feeds, limits, setup.tolerance.relative_l2, setup.rebuilt)
    for check in run_checks(subject):
        outcome.checks.append((_shapes(shapes), check))
        if check.failures and outcome.failed_feeds is None:
            outcome.failed_feeds = feeds


def _run(engine: Engine, case: Case) -> dict[str, Array]:
    try:
        return engine.run(case.feeds)
    except BadInput as error:
        raise BadInput(f"{case.label}: {error}") from None


def _ratio(distance: float, allowed: float) -> float:
    return distance / allowed if allowed else (0.0 if distance == 0 else float("inf"))


def _shapes(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(format_shape(shape) for shape in shapes.values())
