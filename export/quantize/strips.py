"""The form "strips": a rectified convolution as convolutions of the regions of equal r, in int8 throughout.

Given   x quantized with scale s, w with scales v ; z = relu(r * (conv(x; w) + c) + t), r constant [1, 1, H, W]
Result  for each region where r is one number: conv(slice of x; w) with weight scales v * r and bias r * c + t,
        quantized with z's parameters; the regions joined by Concat on integers

conv(x; w) = s * v * acc with an exact integer acc, so a factor r in the weights' scale adds no rounding. All regions
share the integers of w.

Not when r is computed from the shapes, has more than MOST_REGIONS regions, differs between channels, is 0 somewhere, or
where the plane is smaller than LEAST_PLANE: there the many small convolutions cost more than they save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import static_size
from rectexport.exporter.quantize.layers import Layer, factor_of

MOST_REGIONS = 9
#: Rows times columns of the output from which the form is faster than a multiply, measured on ONNX Runtime.
LEAST_PLANE = 28 * 28


@dataclass(frozen=True)
class Part:
    """One part of an axis: outputs first..last-1, made from inputs start..end-1 with padding before and after."""

    first: int
    last: int
    start: int
    end: int
    before: int
    after: int


def refusal(layer: Layer, least: int = LEAST_PLANE) -> str | None:
    """Why a rectified convolution cannot be cut into strips; None where it can."""
    r, size = factor_of(layer), static_size(layer.x)
    if layer.scale is None:
        return "it is not rectified"
    if layer.weight.ndim != 4:
        return "it is no convolution of planes"
    if r is None or size is None:
        return "r is computed from the shapes"
    if r.ndim != 4 or r.shape[0] != 1 or not (r == r[:, :1]).all():
        return "r differs between channels"
    if layer.node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return "its padding is automatic"
    if r.shape[2] * r.shape[3] < least:
        return f"its output of {r.shape[2]} by {r.shape[3]} is small"
    if not (r > 0).all():
        return "some windows lie wholly inside the padding"
    rows, columns = groups(r[0, 0])
    if len(rows) * len(columns) > MOST_REGIONS:
        return f"r has {len(rows) * len(columns)} regions"
    return None


def groups(r: NDArray[np.generic]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Runs of equal rows and of equal columns of [H, W], each as (first, last + 1)."""
    return _runs(r), _runs(r.T)


def _runs(lines: NDArray[np.generic]) -> list[tuple[int, int]]:
    starts = [0, *(index for index in range(1, len(lines)) if not np.array_equal(lines[index], lines[index - 1]))]
    return list(zip(starts, [*starts[1:], len(lines)], strict=True))


def parts(layer: Layer, axis: int, runs: list[tuple[int, int]], size: int) -> list[Part]:
    """What each run of outputs reads along an axis (0: rows, 1: columns) of `size` inputs."""
    attributes, kernel = layer.node.attrs, layer.weight.shape[2 + axis]
    stride = attributes.get("strides", [1, 1])[axis]
    dilation = attributes.get("dilations", [1, 1])[axis]
    pad = attributes.get("pads", [0, 0, 0, 0])[axis]
    found = []
    for first, last in runs:
        low, high = first * stride - pad, (last - 1) * stride - pad + (kernel - 1) * dilation + 1
        found.append(Part(first, last, max(low, 0), min(high, size), max(-low, 0), max(high - size, 0)))
    return found
