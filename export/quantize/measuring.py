"""Distances between a float model and its quantized form on the hold-out: outputs, layers, regions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from rectexport.exporter.graph.inner import with_outputs
from rectexport.exporter.quantize.calibration import Items
from rectexport.runtime.base.metrics import compare_regions, has_regions
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.evaluation.examples import padded

#: Inner tensors are compared on this many items.
ITEMS = 32

Outputs = Sequence[Array]


def run_items(
    run: Callable[[Mapping[str, Array]], Sequence[Array]], items: Items, rows: tuple[int, int]
) -> list[Array]:
    """The outputs of all items, in order. rows: the most and the least that a run takes."""
    most, least = rows
    parts: list[list[Array]] = []
    for start in range(0, len(items), most):
        feeds = items.rows(start, start + most)
        count = len(next(iter(feeds.values())))
        parts.append([_own_rows(array, count) for array in run(padded(feeds, least))])
    return [np.concatenate(arrays) if arrays[0].ndim else np.stack(arrays) for arrays in zip(*parts, strict=True)]


def _own_rows(array: Array, count: int) -> Array:
    return array[:count] if array.ndim else array


def model_outputs(model: ModelProto, items: Items, rows: tuple[int, int], optimize: bool = False) -> list[Array]:
    """What ONNX Runtime computes for a model, by default as its Q/DQ nodes say and without optimization."""
    runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=optimize)
    try:
        return run_items(lambda feeds: list(runner.run(feeds).values()), items, rows)
    finally:
        runner.close()


def snr_db(expected: Outputs, actual: Outputs) -> float:
    """Signal-to-noise ratio of floating-point outputs together, in decibels; that of the worst output."""
    ratios = [_ratio(wanted, got) for wanted, got in zip(expected, actual, strict=True) if wanted.dtype.kind == "f"]
    return min(ratios, default=float("inf"))


def _ratio(wanted: Array, got: Array) -> float:
    signal = np.square(wanted.astype(np.float64)).sum()
    noise = np.square(got.astype(np.float64) - wanted.astype(np.float64)).sum()
    return float("inf") if noise == 0 else float(10 * np.log10(signal / noise)) if signal else float("-inf")


@dataclass(frozen=True)
class LayerNoise:
    """Signal-to-noise ratios of one tensor in dB: of all of it, and of each region of its plane."""

    tensor: str
    snr: float
    regions: Mapping[str, float]

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {"tensor": self.tensor, "snr_db": self.snr, "regions": dict(self.regions)}


def layer_noise(
    model: ModelProto,
    quantized: ModelProto,
    names: Collection[str],
    items: Items,
    rows: tuple[int, int],
    most: int = ITEMS,
) -> list[LayerNoise]:
    """The noise of lines, planes and volumes that both models have by these names, on the first `most` items."""
    first = Items(items.rows(0, most), None)
    both = [name for name in names if name in _made(model) and name in _made(quantized)]
    expected, actual = (model_outputs(_showing(side, both), first, rows) for side in (model, quantized))
    found = []
    for name, wanted, got in zip(both, expected, actual, strict=True):
        if has_regions(wanted) and wanted.shape == got.shape:
            _, regions = compare_regions(wanted, got)
            found.append(LayerNoise(name, _ratio(wanted, got), {key: value.snr_db for key, value in regions.items()}))
    return found


def region_snr(noise: Sequence[LayerNoise], last: str | None = None) -> dict[str, float]:
    """The lowest ratio of each region over the layers, or that of one tensor."""
    chosen = [entry for entry in noise if last in (None, entry.tensor)]
    regions = {name for entry in chosen for name in entry.regions}
    return {name: min(entry.regions[name] for entry in chosen if name in entry.regions) for name in sorted(regions)}


def _made(model: ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output}


def _showing(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The model with these tensors, and no others, as its outputs."""
    shown = with_outputs(model, [])
    kept = {value.name: value for value in shown.graph.output}
    del shown.graph.output[:]
    extended = with_outputs(shown, [name for name in names if name not in kept])
    order = {value.name: value for value in [*extended.graph.output, *kept.values()]}
    del extended.graph.output[:]
    extended.graph.output.extend(order[name] for name in names)
    return extended
