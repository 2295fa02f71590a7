"""The package's ONNX in ONNX Runtime against the source model: outputs, layers, regions, at several shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from rectexport.exporter.inputs import InputPlan, fit_example
from rectexport.exporter.reference import Reference, run_inner
from rectexport.exporter.tolerance import Tolerance
from rectexport.runtime.metrics import Difference, compare, compare_regions
from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.runner import Array
from rectexport.runtime.shapes import MAX_DIMENSION, Shape

#: A region of an inner tensor may be this much farther off than an output: in a net of 80 layers rounding alone
#: reaches 1e-5 in places, and is averaged out later. A border that is wrong is off by a tenth and more.
LAYER_FACTOR = 10
#: Elements of the largest input that a parity case feeds; wider ranges are tested up to here.
MAX_ELEMENTS = 1 << 25
#: An axis without an upper bound is tested up to so many times its most common size.
UNBOUNDED_FACTOR = 4


@dataclass(frozen=True)
class LayerReport:
    """One inner tensor: the whole, and its regions."""

    tensor: str
    layer: str
    whole: Difference
    regions: Mapping[str, Difference]

    @property
    def worst(self) -> tuple[str, float]:
        """The region with the largest relative L2 ("all" for the whole tensor)."""
        candidates = {"all": self.whole.relative_l2, **{k: v.relative_l2 for k, v in self.regions.items()}}
        name = max(candidates, key=lambda key: candidates[key])
        return name, candidates[name]


@dataclass
class CaseReport:
    """One set of input shapes."""

    label: str
    shapes: Mapping[str, Shape]
    outputs: dict[str, Difference] = field(default_factory=dict)
    layers: list[LayerReport] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for parity.json."""
        return {
            "case": self.label,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "outputs": {name: value.as_dict() for name, value in self.outputs.items()},
            "layers": [
                {
                    "tensor": layer.tensor,
                    "layer": layer.layer,
                    **layer.whole.as_dict(),
                    "regions": {name: value.as_dict() for name, value in layer.regions.items()},
                }
                for layer in self.layers
            ],
            "failures": self.failures,
        }


@dataclass
class ParityReport:
    """All cases; goldens: the first case's feeds and expected outputs; kept: the tensors of the first that fails."""

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
    """Compare at every case (default: `parity_cases`); a miss adds the first layer that diverges and its region."""
    report = ParityReport(reference.description, tolerance)
    runner = OnnxRuntimeRunner(model_path)
    for label, feeds in (cases or parity_cases(inputs)).items():
        case = CaseReport(label, {name: array.shape for name, array in feeds.items()})
        expected, actual = reference.outputs(feeds), runner.run(feeds)
        _compare_outputs(case, expected, actual, tolerance)
        case.layers = _compare_layers(model, reference, _one_row(feeds, inputs))
        _judge_layers(case, tolerance)
        if not report.cases:
            report.goldens = (dict(feeds), dict(zip(actual, expected, strict=True)))
        report.cases.append(case)
        if case.failures and not report.kept:
            report.kept = _kept(feeds, expected, actual)
    report.reference = reference.description  # now it knows its precision
    runner.close()
    return report


def parity_cases(inputs: Sequence[InputPlan]) -> dict[str, dict[str, Array]]:
    """Feeds by label: the example alone when all is static, else opt, min, max and odd sizes.

    The odd case gives every dynamic axis another odd size, so that swapped axes show.
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
            high = _odd_size(low, start, high, odd)
            odd.add(high)
        shape[axis] = high
    return tuple(shape)


def _odd_size(low: int, start: int, high: int, taken: Collection[int]) -> int:
    """The first odd size of the range from `start` on, then from `low` on, that no other axis has; else any other."""
    sizes = [*range(start, min(start + 9, high + 1)), *range(low, min(low + 9, high + 1))]
    free = [size for size in sizes if size not in taken]
    return next(iter([size for size in free if size % 2] or free or sizes))


def _same_shapes(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    return all(first[name].shape == second[name].shape for name in first)


def _one_row(feeds: Mapping[str, Array], inputs: Sequence[InputPlan]) -> dict[str, Array]:
    """The feeds with a dynamic batch cut to its minimum: inner tensors of a whole batch would fill the memory."""
    ranges = {entry.name: entry.range for entry in inputs}
    return {
        name: array[: ranges[name].min[0]] if 0 in ranges[name].dynamic_axes else array for name, array in feeds.items()
    }


def _compare_outputs(
    case: CaseReport, expected: Sequence[Array], actual: Mapping[str, Array], tolerance: Tolerance
) -> None:
    for wanted, (name, got) in zip(expected, actual.items(), strict=True):
        if wanted.shape != got.shape:
            case.failures.append(f"{name}: shape {list(got.shape)}, expected {list(wanted.shape)}")
            continue
        difference = compare(wanted, got)
        case.outputs[name] = difference
        failure = tolerance.failure(name, difference, wanted, got)
        if wanted.dtype.kind == "f" and wanted.size and np.isnan(wanted).all():
            failure = f"{name}: the source model gives nothing but NaN, so nothing was compared"
        if failure:
            case.failures.append(failure)


def _compare_layers(model: ModelProto, reference: Reference, feeds: Mapping[str, Array]) -> list[LayerReport]:
    inner = [name for node in model.graph.node for name in node.output if name]
    expected = reference.tensors(feeds, set(inner))
    actual = run_inner(model, feeds, [name for name in inner if name in expected])
    return [
        LayerReport(name, reference.layer(name), *compare_regions(expected[name], got))
        for name, got in actual.items()
        if got.ndim == 4 and got.shape == expected[name].shape
    ]


def _judge_layers(case: CaseReport, tolerance: Tolerance) -> None:
    """Layers are in the order they run: name the first beyond the tolerance, and where in the image it is."""
    for layer in case.layers:
        region, worst = layer.worst
        if not worst <= LAYER_FACTOR * tolerance.relative_l2:
            case.failures.append(
                f"first layer to diverge: {layer.layer} (tensor {layer.tensor}), worst in region {region}: "
                f"relative L2 {worst:.1e}, allowed {LAYER_FACTOR * tolerance.relative_l2:.0e}"
            )
            return


def _kept(feeds: Mapping[str, Array], expected: Sequence[Array], actual: Mapping[str, Array]) -> dict[str, Array]:
    kept = {f"input.{name}": array for name, array in feeds.items()}
    for wanted, (name, got) in zip(expected, actual.items(), strict=True):
        kept[f"expected.{name}"], kept[f"actual.{name}"] = wanted, got
    return kept
