"""Compare the package's ONNX, run by ONNX Runtime, with the source model at several shapes, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import ModelProto

from rectexport.exporter.base.memory import release
from rectexport.exporter.checking.engines import ONNXRUNTIME, EngineCheck
from rectexport.exporter.checking.reference import Reference
from rectexport.exporter.checking.rows import show_rows
from rectexport.exporter.checking.tolerance import RELATIVE_L2, Tolerance
from rectexport.exporter.checking.values import nudged, value_cases
from rectexport.exporter.frontend.inputs import InputPlan, fit_example
from rectexport.exporter.graph.inner import run_inner
from rectexport.exporter.graph.lines import along_one_axis
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape
from rectexport.runtime.batching.rows import RowVerdict
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.engines.proving import judge
from rectexport.runtime.package.folder import MODEL
from rectexport.runtime.package.manifest import NOT_SHOWN
from rectexport.runtime.package.proofs import Proof
from rectexport.runtime.parity.reports import CaseReport, LayerReport, compare_layer, compare_outputs, judge_layers
from rectexport.runtime.parity.sweep import MAX_ELEMENTS, UNBOUNDED_FACTOR, odd_size

#: Goldens besides the first case are kept up to this many bytes each.
GOLDEN_BYTES = 1 << 20
#: How much farther than PyTorch's own float32 an engine may be from float64, where values make float32 inexact.
ROUNDING_FACTOR = 16
#: How many more roundings are tried where one run in float32 does not explain a distance: it may be exact by luck.
MORE_ROUNDINGS = 4
#: Where rounding alone moves an answer by more than this, it says nothing; only a finite one is asked for.
NO_DIGITS, ANYTHING = 1e-2, 1e3


@dataclass(repr=False)
class ParityReport:
    """All cases; goldens: feeds and expected outputs of the first case; kept: tensors of the first failing case.

    others holds the cases of model files besides model.onnx, by file name; rows says whether rows are independent.
    """

    reference: str
    tolerance: Tolerance
    cases: list[CaseReport] = field(default_factory=list)
    goldens: tuple[dict[str, Array], dict[str, Array]] = field(default_factory=lambda: ({}, {}))
    kept: dict[str, Array] = field(default_factory=dict)
    backend: str = "onnxruntime CPU"
    more_goldens: dict[str, tuple[dict[str, Array], dict[str, Array]]] = field(default_factory=dict)
    proofs: list[Proof] = field(default_factory=list)
    others: dict[str, list[CaseReport]] = field(default_factory=dict)
    rows: RowVerdict = field(default_factory=lambda: RowVerdict(NOT_SHOWN))

    def __repr__(self) -> str:
        verdict = "agrees with" if self.passed else "differs from"
        engines = ", ".join(proof.describe() for proof in self.proofs) or self.backend
        return f"<ParityReport: {verdict} {self.reference} in {len(self.cases)} cases; {engines}>"

    def _repr_html_(self) -> str | None:
        return as_html("parity", self)

    @property
    def passed(self) -> bool:
        """Whether no case failed."""
        return not any(case.failures for _, case in self.all_cases())

    def all_cases(self) -> Iterator[tuple[str, CaseReport]]:
        """Every case of every model, with its file."""
        for file, cases in {MODEL: self.cases, **self.others}.items():
            for case in cases:
                yield file, case

    def proof_of(self, engine: str) -> Proof | None:
        """What an engine answered; None where it was not compared."""
        return next((proof for proof in self.proofs if proof.engine == engine), None)

    def as_dict(self) -> dict[str, Any]:
        """The document of parity.json."""
        return {
            "passed": self.passed,
            "reference": self.reference,
            "backend": self.backend,
            "tolerances": self.tolerance.as_dict(),
            "cases": [case.as_dict() for case in self.cases],
            "proofs": [proof.as_dict() for proof in self.proofs],
            **({"models": self._others()} if self.others else {}),
        }

    def _others(self) -> dict[str, Any]:
        return {file: [case.as_dict() for case in cases] for file, cases in self.others.items()}


def check_parity(
    model: ModelProto,
    model_path: Path,
    reference: Reference,
    inputs: Sequence[InputPlan],
    tolerance: Tolerance,
    cases: Mapping[str, Mapping[str, Array]] | None = None,
    engines: Sequence[EngineCheck] = (),
    judge: Sequence[Mapping[str, Shape]] = (),
    stored: Mapping[str, Array] = MappingProxyType({}),
) -> ParityReport:
    """Compare at every case; a miss adds the first layer that diverges and its region.

    The cases are by default those of `parity_cases`, with the shapes in `judge`.

    ONNX Runtime is compared tensor by tensor; other engines by their outputs, with a note on inner tensors at the first
    case. With engines, and where cases are not given, both are also compared at `value_cases`. stored are arrays of the
    model's inputs that stand for weights; the file has them stored.
    """
    report = ParityReport(reference.description, tolerance)
    answered: list[tuple[CaseReport, Mapping[str, Array], Sequence[Array], dict[str, Array]]] = []
    runner = OnnxRuntimeRunner(model_path)
    main = next((check for check in engines if check.name == ONNXRUNTIME), None)
    others = [check for check in engines if check is not main]
    for label, feeds in (cases or parity_cases(inputs, judge)).items():
        case = CaseReport(label, {name: array.shape for name, array in feeds.items()})
        answers, actual = reference.outputs(feeds), runner.run(feeds)
        expected = dict(zip(actual, answers, strict=True))
        bound = _Bound(report, Rounding(reference, feeds, expected, list(actual)))
        compare_outputs(case, expected, actual, tolerance)
        if case.failures:
            case.failures.clear()
            compare_outputs(case, expected, actual, bound.looser())
        _add_to(main, label, expected, actual, tolerance, bound.looser)
        for check in others:
            check.compare(label, feeds, expected, tolerance, bound.looser)
        _keep_goldens(report, label, feeds, expected)
        report.cases.append(case)
        answered.append((case, feeds, answers, actual))
    if engines and cases is None:
        _compare_values(report, runner, main, others, reference, inputs)
    if cases is None and report.passed:
        report.rows = show_rows(runner, inputs, tolerance.relative_l2)
    report.reference = reference.description  # final only now: it may have fallen back to float32
    runner.close()  # before the inner tensors, which take as much memory again
    for check in others:
        check.close()
    release()
    for index, (case, given, expected_outputs, actual) in enumerate(answered):
        row = {**_one_row(given, inputs), **stored}
        case.layers = _compare_layers(model, reference, row, tolerance, others if index == 0 and not stored else [])
        judge_layers(case, report.tolerance)
        if case.failures and not any(before.failures for before, *_ in answered[:index]):
            report.kept = _kept(given, expected_outputs, actual)  # instead of a value case's, which comes later
    release()
    report.proofs = [check.proof() for check in engines]
    return report


def _add_to(
    check: EngineCheck | None,
    label: str,
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    tolerance: Tolerance,
    looser: Callable[[], Tolerance] | None = None,
) -> None:
    if check is not None:
        check.add(label, expected, actual, tolerance, looser)


@dataclass(frozen=True)
class Rounding:
    """How far rounding alone moves the outputs of one case, which an engine in float32 may differ by, too.

    expected    outputs in float64, by name; names are those of all outputs, in order
    """

    reference: Reference
    feeds: Mapping[str, Array]
    expected: Mapping[str, Array]
    names: Sequence[str]

    def in_float32(self, tolerance: Tolerance) -> Tolerance:
        """The tolerance, or ROUNDING_FACTOR times what float32 does to these values where that is more."""
        return _widened(tolerance, self._distance(self.reference.rounded(self.feeds)))

    def at_random(self, tolerance: Tolerance) -> Tolerance:
        """The same, and for several runs in which every step is rounded at random."""
        tolerance = self.in_float32(tolerance)
        runs = [self.reference.disturbed(self.feeds, seed) for seed in range(MORE_ROUNDINGS)]
        moved = max(self._distance(run) for run in runs)
        return _widened(tolerance, moved if moved <= NO_DIGITS else ANYTHING)

    def _distance(self, answers: Sequence[Array] | None) -> float:
        """How far answers are from what is expected; 0 where there are none."""
        if answers is None:
            return 0.0
        found = dict(zip(self.names, answers, strict=True))
        distances = (compare(wanted, found[name]).relative_l2 for name, wanted in self.expected.items())
        return max(distances, default=0.0)


def _widened(tolerance: Tolerance, distance: float) -> Tolerance:
    worst = ROUNDING_FACTOR * distance
    return replace(tolerance, relative_l2=worst) if worst > tolerance.relative_l2 else tolerance


@dataclass
class _Bound:
    """What the outputs of one case may be off by where they exceed the tolerance: what float32 itself is off by."""

    report: ParityReport
    rounding: Rounding

    def looser(self) -> Tolerance:
        """The bound; it becomes the package's tolerance, which the goldens are judged by later.

        A tolerance that was asked for, narrower than the usual one, stays; so it does for a model that answers
        otherwise when it is asked again, because it draws random numbers.
        """
        if self.report.tolerance.relative_l2 < RELATIVE_L2["fp32"] or not self._answers_again():
            return self.report.tolerance
        found = self.rounding.in_float32(self.report.tolerance)
        self.report.tolerance = found
        return found

    def _answers_again(self) -> bool:
        again = self.rounding.reference.trial(self.rounding.feeds)
        return again is not None and all(
            np.array_equal(one, other) for one, other in zip(self.rounding.expected.values(), again, strict=True)
        )


def _keep_goldens(report: ParityReport, label: str, feeds: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """The first case whatever its size; others where they are small."""
    if not report.cases and not report.goldens[0]:
        report.goldens = (dict(feeds), dict(expected))
    elif sum(array.nbytes for array in (*feeds.values(), *expected.values())) <= GOLDEN_BYTES:
        report.more_goldens[label] = (dict(feeds), dict(expected))


def _compare_values(
    report: ParityReport,
    runner: OnnxRuntimeRunner,
    main: EngineCheck | None,
    others: Sequence[EngineCheck],
    reference: Reference,
    inputs: Sequence[InputPlan],
) -> None:
    """Other signs, zeros, large numbers, whole ranges of integers, as far as the model takes them.

    Bounds of single elements (atol, rtol) are for the example and do not apply. Where float32 itself is farther off
    than the tolerance allows, that is the bound. Integer outputs that follow from floats are compared where inputs that
    differ by rounding give the same, and so does ONNX Runtime: elsewhere they may choose between equals, as top-k does
    among zeros.
    """
    for label, feeds in value_cases(inputs).items():
        answers = reference.trial(feeds)
        if answers is None:
            continue
        actual = runner.run(feeds)
        steady = _steady(reference, feeds, answers, list(actual.values()))
        expected = {name: array for name, array, kept in zip(actual, answers, steady, strict=True) if kept}
        bound = Tolerance(report.tolerance.relative_l2)
        rounding = Rounding(reference, feeds, expected, list(actual))
        rounded = cache(partial(rounding.in_float32, bound))
        wider = cache(partial(rounding.at_random, bound))
        case = CaseReport(label, {name: array.shape for name, array in feeds.items()})
        compare_outputs(case, expected, actual, bound)
        for looser in (rounded, wider):
            if case.failures:
                case.failures.clear()
                compare_outputs(case, expected, actual, looser())
        _add_to(main, label, expected, actual, bound, wider)
        for check in others:
            check.compare(label, feeds, expected, bound, wider)
        if case.failures:
            report.cases.append(case)
            report.kept = report.kept or _kept(feeds, answers, actual)
        elif len(expected) == len(actual) and not judge(expected, actual, report.tolerance, label)[0]:
            _keep_goldens(report, label, feeds, expected)


def _steady(
    reference: Reference, feeds: Mapping[str, Array], answers: Sequence[Array], actual: Sequence[Array]
) -> list[bool]:
    """Which outputs rounding does not change; float outputs count as steady."""
    moved = nudged(feeds)
    if moved is None or all(array.dtype.kind == "f" for array in answers):
        return [True] * len(answers)
    again = reference.trial(moved)
    if again is None:
        return [array.dtype.kind == "f" for array in answers]
    return [
        one.dtype.kind == "f" or (np.array_equal(one, other) and np.array_equal(one, got))
        for one, other, got in zip(answers, again, actual, strict=True)
    ]


def parity_cases(inputs: Sequence[InputPlan], judge: Sequence[Mapping[str, Shape]] = ()) -> dict[str, dict[str, Array]]:
    """Feeds by label: only the example if all shapes are static, else opt, min, max, odd sizes, and those to judge.

    The odd case gives every dynamic axis a different odd size, so that swapped axes are found. `judge` has shapes at
    which the trace is least certain, by input.
    """
    if not any(entry.range.dynamic_axes for entry in inputs):
        return {"example": {entry.name: entry.example for entry in inputs}}
    cases: dict[str, dict[str, Array]] = {}
    for label in ("opt", "min", "max", "odd"):
        feeds = {entry.name: fit_example(entry.example, _case_shape(entry, label)) for entry in inputs}
        if not any(_same_shapes(feeds, other) for other in cases.values()):
            cases[label] = feeds
    for number, shapes in enumerate(judge, 1):
        feeds = {entry.name: fit_example(entry.example, shapes[entry.name]) for entry in inputs}
        small = max(math.prod(shape) for shape in shapes.values()) <= MAX_ELEMENTS
        if small and not any(_same_shapes(feeds, other) for other in cases.values()):
            cases[f"size {number}"] = feeds
    return cases


def _case_shape(entry: InputPlan, label: str) -> Shape:
    bounds = entry.range
    if label in ("min", "opt"):
        return bounds.min if label == "min" else bounds.opt
    shape = list(bounds.opt)
    odd: set[int] = set()
    for position, axis in enumerate(bounds.dynamic_axes):
        low, high = bounds.min[axis], bounds.max[axis]
        if high == MAX_DIMENSION:
            high = UNBOUNDED_FACTOR * bounds.opt[axis]
        rest = int(np.prod(shape[:axis] + shape[axis + 1 :], dtype=np.int64))
        high = max(bounds.floor(axis, min(high, MAX_ELEMENTS // max(rest, 1))), bounds.opt[axis])
        if label == "odd":
            start = bounds.floor(axis, low + (high - low) * (position + 1) // (len(bounds.dynamic_axes) + 2))
            high = odd_size(low, start, high, odd, bounds.step_of(axis))
            odd.add(high)
        shape[axis] = high
    return tuple(shape)


def _same_shapes(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    return all(first[name].shape == second[name].shape for name in first)


def _one_row(feeds: Mapping[str, Array], inputs: Sequence[InputPlan]) -> dict[str, Array]:
    """The feeds with a dynamic batch cut to its minimum: inner tensors of a whole batch may not fit in memory."""
    ranges = {entry.name: entry.range for entry in inputs}
    return {
        name: array[: ranges[name].min[0]] if 0 in ranges[name].dynamic_axes else array for name, array in feeds.items()
    }


def _compare_layers(
    model: ModelProto,
    reference: Reference,
    feeds: Mapping[str, Array],
    tolerance: Tolerance,
    others: Sequence[EngineCheck],
) -> list[LayerReport]:
    inner = [name for node in model.graph.node for name in node.output if name]
    expected = reference.tensors(feeds, set(inner))
    for check in others:
        check.compare_inner(model, feeds, expected, reference.layer, tolerance)
    actual = run_inner(model, feeds, [name for name in inner if name in expected])
    lines = along_one_axis(model)
    return [
        compare_layer(name, reference.layer(name), expected[name], got)
        for name, got in actual.items()
        if (got.ndim in (4, 5) or (got.ndim == 3 and name in lines)) and got.shape == expected[name].shape
    ]


def _kept(feeds: Mapping[str, Array], expected: Sequence[Array], actual: Mapping[str, Array]) -> dict[str, Array]:
    kept = {f"input.{name}": array for name, array in feeds.items()}
    for wanted, (name, got) in zip(expected, actual.items(), strict=True):
        kept[f"expected.{name}"], kept[f"actual.{name}"] = wanted, got
    return kept
