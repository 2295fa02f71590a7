"""Scale and zero point of a quantized tensor, and the integers of weights and biases.

A value v is stored as q = clip(round(v / scale) + zero_point), and read as (q - zero_point) * scale. Rounding is half
to even, as in ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

U8, S8 = "uint8", "int8"
#: Largest magnitude of a weight. With 7 bits two products fit the 16 bits in which AVX2 adds them.
EIGHT_BIT, SEVEN_BIT = 127, 63
#: Largest magnitude of an int32 bias, with room for the sum of products.
_MOST_BIAS = float(1 << 30)
#: A smaller range counts as 0: float32 has no exact scale for it.
_LEAST_SCALE = 1e-30
#: Fractions of the largest weight at which a channel's range is tried.
_FRACTIONS = np.linspace(0.5, 1.0, 26)


@dataclass(frozen=True)
class Parameters:
    """How one tensor is quantized; low and high are the ends of the range that it came from."""

    scale: float
    zero_point: int
    dtype: str
    low: float
    high: float

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and largest stored integer. int8 leaves out -128, so that it is symmetric."""
        return (0, 255) if self.dtype == U8 else (-127, 127)

    def rounded(self, values: Values) -> Values:
        """The values after quantization and dequantization."""
        low, high = self.limits
        return (np.clip(np.rint(values / self.scale) + self.zero_point, low, high) - self.zero_point) * self.scale

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"scale": self.scale, "zero_point": self.zero_point, "dtype": self.dtype, "range": [self.low, self.high]}


def parameters_of(low: float, high: float, dtype: str) -> Parameters:
    """The parameters for values from low to high; 0 is always exact.

    uint8 has a zero point, int8 is symmetric with zero point 0. A range of nothing but 0 gets scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype == S8:
        largest = max(-low, high)
        return Parameters(_scale(largest / 127), 0, dtype, -largest, largest)
    scale = _scale((high - low) / 255)
    return Parameters(scale, round(-low / scale), dtype, low, high)


def _scale(value: float) -> float:
    """As float32, which is what the file holds; 1 for a range of nothing but 0."""
    return float(np.float32(value)) if value > _LEAST_SCALE else 1.0


def quantized_weight(weight: NDArray[Any], axis: int, largest: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The integers of a weight, and a scale for each index of `axis` that keeps its squared error smallest."""
    rows = np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
    peak = np.abs(rows).max(axis=1, initial=0.0)
    best, scales = np.full(len(rows), np.inf), np.ones(len(rows))
    for fraction in _FRACTIONS:
        scale = np.where(peak > 0, fraction * peak / largest, 1.0)
        stored = np.clip(np.rint(rows / scale[:, None]), -largest, largest)
        error = np.square(stored * scale[:, None] - rows).sum(axis=1)
        better = error <= best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
    return integers(weight, scales, axis, largest), scales.astype(np.float32)


def integers(weight: NDArray[Any], scales: NDArray[Any], axis: int, largest: int) -> NDArray[np.int8]:
    """The weight in units of its scales."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    units = weight.astype(np.float64) / scales.astype(np.float32).astype(np.float64).reshape(shape)
    return np.clip(np.rint(units), -largest, largest).astype(np.int8)


def widened_scales(scales: NDArray[np.float32], bias: Values, activation: float) -> NDArray[np.float32]:
    """Weight scales at which bias / (activation * scale) fits int32."""
    least = np.abs(bias) / (activation * _MOST_BIAS)
    return np.maximum(scales.astype(np.float64), least).astype(np.float32)


def mean_error(weight: NDArray[Any], error: Values, axis: int, groups: int, mean: Values) -> Values:
    """By how much an error in a weight moves the mean of each output, for inputs with these means of channels. [O].

    Activations behind a ReLU have a mean, so this is a good part of what rounding weights does, and a bias undoes it.
    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019.
    """
    rows = np.moveaxis(error, axis, 0)
    rows = rows.sum(axis=tuple(range(2, weight.ndim)))
    own = mean.reshape(groups, -1)[np.arange(len(rows)) * groups // len(rows)]
    moved: Values = (rows * own).sum(axis=1)
    return moved


def quantized_bias(bias: Values, units: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bias in units of activation scale times weight scale."""
    return np.rint(bias / units.astype(np.float64)).astype(np.int32)
