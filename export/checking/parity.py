"""Compare the package's ONNX, run by ONNX Runtime, with the source model at several shapes, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from rectexport.exporter.checking.reference import Reference
from rectexport.exporter.checking.tolerance import Tolerance
from rectexport.exporter.frontend.inputs import InputPlan, fit_example
from rectexport.exporter.graph.inner import run_inner
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.parity.reports import CaseReport, LayerReport, compare_layer, compare_outputs, judge_layers
from rectexport.runtime.parity.sweep import MAX_ELEMENTS, UNBOUNDED_FACTOR, odd_size


@dataclass
class ParityReport:
    """All cases; goldens: feeds and expected outputs of the first case; kept: tensors of the first failing case."""

    reference: str
    tolerance: Tolerance
    cases: list[CaseReport] = field(default_factory=list)
    goldens: tuple[dict[str, Array], dict[str, Array]] = field(default_factory=lambda: ({}, {}))
    kept: dict[str, Array] = field(default_factory=dict)
    backend: str = "onnxruntime CPU"

    @property
    def passed(self) -> bool:
        """Whether no case failed."""
        return not any(case.failures for case in self.cases)

    def as_dict(self) -> dict[str, Any]:
        """The document of parity.json."""
        return {
            "passed": self.passed,
            "reference": self.reference,
            "backend": self.backend,
            "tolerances": self.tolerance.as_dict(),
            "cases": [case.as_dict() for case in self.cases],
        }


def check_parity(
    model: ModelProto,
    model_path: Path,
    reference: Reference,
    inputs: Sequence[InputPlan],
    tolerance: Tolerance,
    cases: Mapping[str, Mapping[str, Array]] | None = None,
) -> ParityReport:
    """Compare every case (default: `parity_cases`); a failure names the first layer that diverges and its region."""
    report = ParityReport(reference.description, tolerance)
    runner = OnnxRuntimeRunner(model_path)
    for label, feeds in (cases or parity_cases(inputs)).items():
        case = CaseReport(label, {name: array.shape for name, array in feeds.items()})
        expected, actual = reference.outputs(feeds), runner.run(feeds)
        compare_outputs(case, dict(zip(actual, expected, strict=True)), actual, tolerance)
        case.layers = _compare_layers(model, reference, _one_row(feeds, inputs))
        judge_layers(case, tolerance)
        if not report.cases:
            report.goldens = (dict(feeds), dict(zip(actual, expected, strict=True)))
        report.cases.append(case)
        if case.failures and not report.kept:
            report.kept = _kept(feeds, expected, actual)
    report.reference = reference.description  # final only now: it may have fallen back to float32
    runner.close()
    return report


def parity_cases(inputs: Sequence[InputPlan]) -> dict[str, dict[str, Array]]:
    """Feeds by label: only the example if all shapes are static, else opt, min, max and odd sizes.

    The odd case gives every dynamic axis a different odd size, so that swapped axes are found.
    """
    if not any(entry.range.dynamic_axes for entry in inputs):
        return {"example": {entry.name: entry.example for entry in inputs}}
    cases: dict[str, dict[str, Array]] = {}
    for label in ("opt", "min", "max", "odd"):
        feeds = {entry.name: fit_example(entry.example, _case_shape(entry, label)) for entry in inputs}
        if not any(_same_shapes(feeds, other) for other in cases.values()):
            cases[label] = feeds
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
        high = max(min(high, MAX_ELEMENTS // max(rest, 1)), bounds.opt[axis])
        if label == "odd":
            start = low + (high - low) * (position + 1) // (len(bounds.dynamic_axes) + 2)
            high = odd_size(low, start, high, odd)
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


def _compare_layers(model: ModelProto, reference: Reference, feeds: Mapping[str, Array]) -> list[LayerReport]:
    inner = [name for node in model.graph.node for name in node.output if name]
    expected = reference.tensors(feeds, set(inner))
    actual = run_inner(model, feeds, [name for name in inner if name in expected])
    return [
        compare_layer(name, reference.layer(name), expected[name], got)
        for name, got in actual.items()
        if got.ndim == 4 and got.shape == expected[name].shape
    ]


def _kept(feeds: Mapping[str, Array], expected: Sequence[Array], actual: Mapping[str, Array]) -> dict[str, Array]:
    kept = {f"input.{name}": array for name, array in feeds.items()}
    for wanted, (name, got) in zip(expected, actual.items(), strict=True):
        kept[f"expected.{name}"], kept[f"actual.{name}"] = wanted, got
    return kept
