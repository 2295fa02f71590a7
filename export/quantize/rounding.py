"""Rounds weights so that a layer's outputs change least on the calibration data.

Given   y = w x for a filter w ; the calibration data's second moment M = mean of x xᵀ over the inputs x of the filter
Result  integers q with small (w - s q) M (w - s q)ᵀ, which is the mean squared error of y

Each weight is rounded to the nearest integer in turn, and the weights that are still to be rounded take up its error:
w_j -= e_i * U_ij / U_ii, where U is the upper Cholesky factor of the inverse of M. The weights that meet the largest
inputs come first. Behind a multiply by r, the inputs count r² times, so that the border is right too.

Not for filters of more than MOST values, whose M takes too long to invert: those are rounded to the nearest.

Source: Frantar et al., GPTQ, ICLR 2023; Hassibi and Stork, Optimal Brain Surgeon, 1993.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.inner import with_outputs
from rectexport.exporter.quantize.calibration import Items
from rectexport.exporter.quantize.layers import Layer, factor_of
from rectexport.exporter.quantize.parameters import Values, quantized_weight
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.evaluation.examples import padded

#: Most values of a filter: the time grows with their third power.
MOST = 2304
#: Inputs of each filter that are looked at: so many for each of its values, and no less than the second.
_INPUTS, _LEAST_INPUTS = 4, 4096
#: Added to M's diagonal, in parts of its mean: the data does not determine every direction.
_DAMPING = 0.01
#: Bytes that the moments of layers which are observed in the same run may take.
_MEMORY = 400e6
#: Weights of a filter that are rounded before the others take up their errors, all in one product.
_BLOCK = 64


@dataclass(frozen=True)
class Weight:
    """The integers of a layer's weight, and their scale for each output."""

    stored: NDArray[np.int8]
    scales: NDArray[np.float32]


def round_weights(
    model: ModelProto,
    layers: Sequence[Layer],
    items: Items,
    rows: tuple[int, int],
    largest: int,
    advance: Callable[[int, int, str], None],
    most: int = MOST,
) -> dict[str, Weight]:
    """The weights of these layers, by name.

    rows  the most and the least rows of a run
    most  filters of more values are rounded to the nearest; 0 for all
    """
    found, done = {}, 0
    for part in _parts(layers, most):
        moments = _moments(model, part, items, rows, most)
        for layer in part:
            advance(done, len(layers), f"rounding the weights of {layer.name}")
            stored, scales = quantized_weight(layer.weight, layer.axis, largest)
            if layer.name in moments:
                stored = _rounded(layer, moments[layer.name], scales, largest)
            found[layer.name] = Weight(stored, scales)
            done += 1
    return found


def values_of_filter(layer: Layer) -> int:
    """K: how many weights an output has."""
    return int(layer.weight.size // layer.weight.shape[layer.axis])


def _groups(layer: Layer) -> int:
    return int(layer.node.attrs.get("group", 1))


def _bytes(layer: Layer, most: int) -> int:
    """Of the moments; 0 where the weights are rounded to the nearest."""
    automatic = layer.node.attrs.get("auto_pad", "NOTSET") != "NOTSET"
    values = values_of_filter(layer)
    return 0 if automatic or values > most else 8 * _groups(layer) * values**2


def _parts(layers: Sequence[Layer], most: int) -> list[list[Layer]]:
    """The layers in order, in parts whose moments fit into memory together."""
    parts: list[list[Layer]] = []
    used = 0.0
    for layer in layers:
        used += _bytes(layer, most)
        if not parts or used > _MEMORY:
            parts.append([])
            used = _bytes(layer, most)
        parts[-1].append(layer)
    return parts


def _moments(
    model: ModelProto, layers: Sequence[Layer], items: Items, rows: tuple[int, int], most_values: int
) -> dict[str, Values]:
    """M of each layer that is not rounded to the nearest, by name. [groups, K, K]."""
    fitting = [layer for layer in layers if _bytes(layer, most_values)]
    if not fitting:
        return {}
    inner = sorted({layer.x.name for layer in fitting} - set(items.feeds))
    given = {value.name for value in model.graph.output}
    runner = OnnxRuntimeRunner(with_outputs(model, [name for name in inner if name not in given]).SerializeToString())
    generator = np.random.default_rng(0)
    found = {layer.name: np.zeros((_groups(layer), *[values_of_filter(layer)] * 2)) for layer in fitting}
    most, least = rows
    try:
        for start in range(0, len(items), most):
            feeds = items.rows(start, start + most)
            count = len(next(iter(feeds.values())))
            values = {**feeds, **runner.run(padded(feeds, least))}
            for layer in fitting:
                wanted = max(_INPUTS * values_of_filter(layer), _LEAST_INPUTS) * count // len(items) + 1
                x = _filter_inputs(layer, values[layer.x.name][:count], wanted, generator)
                found[layer.name] += np.matmul(x.transpose(0, 2, 1), x)
    finally:
        runner.close()
    return found


def _filter_inputs(layer: Layer, x: Array, wanted: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """What the layer's filters read at `wanted` random places, or at all of them: [groups, places, K]."""
    if not layer.convolution:
        places = x.reshape(-1, x.shape[-1])
        return places[generator.permutation(len(places))[:wanted]][None].astype(np.float32)
    attributes, kernel = layer.node.attrs, layer.weight.shape[2:]
    count = len(kernel)
    strides, dilations = (attributes.get(name, [1] * count) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 2 * count)
    padding = np.pad(x, ((0, 0), (0, 0), *zip(pads[:count], pads[count:], strict=True)))
    reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    sizes = [(padding.shape[2 + axis] - reach[axis] - 1) // strides[axis] + 1 for axis in range(count)]
    chosen = generator.permutation(len(x) * int(np.prod(sizes)))[:wanted]
    item, *outputs = np.unravel_index(chosen, (len(x), *sizes))
    ones = [1] * count
    index = [item.reshape(-1, 1, *ones), np.arange(x.shape[1]).reshape(1, -1, *ones)]
    for axis, output in enumerate(outputs):
        own = output[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis]
        index.append(own.reshape(-1, 1, *[kernel[axis] if other == axis else 1 for other in range(count)]))
    read = padding[tuple(index)]
    r = factor_of(layer)
    if r is not None:
        read = read * r.mean(axis=(0, 1))[tuple(outputs)].reshape(-1, 1, *ones)
    groups = _groups(layer)
    grouped: NDArray[np.float32] = read.reshape(len(read), groups, -1).transpose(1, 0, 2).astype(np.float32)
    return grouped


def _rounded(layer: Layer, moments: Values, scales: NDArray[np.float32], largest: int) -> NDArray[np.int8]:
    """The integers of a weight, in its own shape."""
    rows = np.moveaxis(layer.weight, layer.axis, 0)
    parts = zip(
        np.split(rows.reshape(len(rows), -1).astype(np.float64), len(moments)),
        np.split(scales.astype(np.float64), len(moments)),
        moments,
        strict=True,
    )
    stored = np.concatenate([round_filters(filters / units[:, None], own, largest) for filters, units, own in parts])
    return np.moveaxis(stored.reshape(rows.shape), 0, layer.axis)


def round_filters(filters: Values, moment: Values, largest: int) -> NDArray[np.int8]:
    """Integers near the filters [O, K], which are in units of their scales, for inputs with this moment [K, K]."""
    size = len(moment)
    mean = float(np.trace(moment)) / size
    if mean <= 0:
        return np.clip(np.rint(filters), -largest, largest).astype(np.int8)
    order = np.argsort(-np.diag(moment), kind="stable")
    damped = moment[np.ix_(order, order)] + _DAMPING * mean * np.eye(size)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, stored = filters[:, order].copy(), np.zeros(filters.shape, np.int8)
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        errors = np.zeros((len(left), end - begin))
        for index in range(begin, end):
            value = np.clip(np.rint(left[:, index]), -largest, largest)
            stored[:, order[index]] = value
            error = (left[:, index] - value) / upper[index, index]
            left[:, index + 1 : end] -= np.outer(error, upper[index, index + 1 : end])
            errors[:, index - begin] = error
        left[:, end:] -= errors @ upper[begin:end, end:]
    return stored
