"""The distances of outputs, inner layers and regions, and whether they are within the tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rectexport.runtime.base.metrics import Difference, Pixel, compare, compare_regions, has_regions
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.base.tolerance import LAYER_FACTOR, Tolerance, bound_text


@dataclass(frozen=True)
class LayerReport:
    """Distances of an inner tensor and its regions; operator is the operator of ours that computes it, or empty."""

    tensor: str
    layer: str
    whole: Difference
    regions: Mapping[str, Difference]
    operator: str = ""

    @property
    def worst(self) -> tuple[str, float]:
        """The region with the largest relative L2 ("all" for the whole tensor)."""
        return worst_region(self.whole, self.regions)

    @property
    def worst_pixel(self) -> Pixel | None:
        """The element with the largest error in the worst region."""
        return self.regions.get(self.worst[0], self.whole).worst

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = {"tensor": self.tensor, "layer": self.layer, "operator": self.operator}
        return {**names, **self.whole.as_dict(), "regions": _regions_as_dict(self.regions)}


@dataclass
class CaseReport:
    """Distances at one set of input shapes; regions are those of outputs that are images.

    reference describes what computed the expected outputs; it is empty in an export.
    """

    label: str
    shapes: Mapping[str, Shape]
    outputs: dict[str, Difference] = field(default_factory=dict)
    layers: list[LayerReport] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    regions: dict[str, Mapping[str, Difference]] = field(default_factory=dict)
    reference: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for parity.json."""
        document = {
            "case": self.label,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "outputs": {
                name: {**value.as_dict(), "regions": _regions_as_dict(self.regions.get(name, {}))}
                for name, value in self.outputs.items()
            },
            "layers": [layer.as_dict() for layer in self.layers],
            "failures": self.failures,
        }
        return {**document, "reference": self.reference} if self.reference else document


def compare_outputs(
    case: CaseReport, expected: Mapping[str, Array], actual: Mapping[str, Array], tolerance: Tolerance
) -> None:
    """Add every output's distances to the case, and a failure for each output that exceeds the tolerance."""
    for name, wanted in expected.items():
        failure = _compare_output(case, name, wanted, actual[name], tolerance)
        if failure:
            case.failures.append(failure)


def compare_layer(tensor: str, layer: str, expected: Array, actual: Array, operator: str = "") -> LayerReport:
    """Distances of an inner tensor, by region if it has one to three axes behind [N, C].

    Raises ValueError when the shapes differ.
    """
    if has_regions(expected):
        return LayerReport(tensor, layer, *compare_regions(expected, actual), operator)
    return LayerReport(tensor, layer, compare(expected, actual), {}, operator)


def first_divergence(layers: Sequence[LayerReport], tolerance: Tolerance) -> LayerReport | None:
    """The first layer that exceeds its bound; layers are in the order they run."""
    return next((layer for layer in layers if not layer.worst[1] <= tolerance.of_layer(layer.tensor)), None)


def judge_layers(case: CaseReport, tolerance: Tolerance) -> None:
    """Add a failure that names the first layer to diverge, its worst region and its worst element."""
    layer = first_divergence(case.layers, tolerance)
    if layer is not None:
        region, worst = layer.worst
        case.failures.append(
            f"first layer to diverge: {layer.layer} (tensor {layer.tensor}), worst in region {region}: "
            f"relative L2 {worst:.1e}, allowed {tolerance.of_layer(layer.tensor):.0e}, at {layer.worst_pixel}"
        )


def worst_region(whole: Difference, regions: Mapping[str, Difference]) -> tuple[str, float]:
    """The name and relative L2 of the worst region; "all" if the whole tensor's is as large."""
    candidates = {"all": whole.relative_l2, **{name: value.relative_l2 for name, value in regions.items()}}
    name = max(candidates, key=lambda key: candidates[key])
    return name, candidates[name]


def _compare_output(case: CaseReport, name: str, wanted: Array, got: Array, tolerance: Tolerance) -> str | None:
    if wanted.shape != got.shape:
        return f"{name}: shape {list(got.shape)}, expected {list(wanted.shape)}"
    layer = compare_layer(name, name, wanted, got)
    case.outputs[name], case.regions[name] = layer.whole, layer.regions
    if wanted.dtype.kind == "f" and wanted.size and np.isnan(wanted).all():
        return f"{name}: the source model gives nothing but NaN, so nothing was compared"
    failure = tolerance.failure(name, layer.whole, wanted, got)
    region, worst = layer.worst
    bound = LAYER_FACTOR * tolerance.relative_l2
    if failure is None and not worst <= bound and not tolerance.passes_as_zeros(wanted, got):
        failure = f"{name}: relative L2 {worst:.1e} in region {region}, allowed {bound_text(bound)}"
    return f"{failure}; farthest off at {layer.whole.worst}" if failure else None


def _regions_as_dict(regions: Mapping[str, Difference]) -> dict[str, Any]:
    return {name: value.as_dict() for name, value in regions.items()}
