"""A pair between a convolution and its multiply by r, with a range for each channel: the form "both" for constant r.

Given   y = conv(x; w) + c ; z = relu(r * y + t), r constant ; channel o of y lies in low[o]..high[o]
Result  u = conv(x; w / k) + (c - low) / k, with k = high - low, so in 0..1 ; z = relu((r * k) * u + (r * low + t))

u has one scale, as ONNX Runtime wants it, and each channel of y the whole of 8 bits. The integers of w stay: only the
scales of the weights are divided by k. What ReLU cuts off anyway needs no range, so low is at least -t / r there.

Not when r is computed from the shapes: then y has one range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rectexport.exporter.quantize.layers import Layer, factor_of, shift_of
from rectexport.exporter.quantize.parameters import U8, Parameters, Values, parameters_of

#: Least range of a channel, in parts of the widest: a smaller one would only make scales that are hard to store.
_LEAST = 1e-3


@dataclass(frozen=True)
class ChannelRanges:
    """The ends of each channel's range. [C] each."""

    low: Values
    high: Values

    @property
    def width(self) -> Values:
        """k. [C], more than 0."""
        width = self.high - self.low
        return np.maximum(width, _LEAST * max(float(width.max()), 1e-12))

    @property
    def parameters(self) -> Parameters:
        """Of u."""
        return parameters_of(0.0, 1.0, U8)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: those of u, and what a step of each channel is in units of y."""
        step = self.parameters.scale
        channels = {"scale": (self.width * step).tolist(), "low": self.low.tolist()}
        ends = [float(self.low.min()), float((self.low + self.width).max())]
        return {**self.parameters.as_dict(), "range": ends, "channels": channels}


def has_ranges(layer: Layer) -> bool:
    """Whether the form fits a rectified convolution."""
    return factor_of(layer) is not None


def ranges_of(layer: Layer, low: Values, high: Values) -> ChannelRanges:
    """The ranges of y worth storing, from the smallest and largest values of its channels."""
    r, shift = factor_of(layer), shift_of(layer)
    if layer.relu is None or r is None or not (r > 0).any():
        return ChannelRanges(low, high)
    t = np.zeros(len(low)) if shift is None else shift.astype(np.float64)
    factors = r[r > 0].astype(np.float64)
    needed = -t / np.where(t < 0, factors.max(), factors.min())
    low = np.maximum(low, needed)
    return ChannelRanges(low, np.maximum(high, low))
