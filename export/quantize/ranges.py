"""The range of a tensor's values that is worth quantizing, from their distribution.

minmax    from the smallest to the largest value
mse       the range whose quantization has the smallest squared error, or, where corners or edges of the plane would be
          more than BEHIND decibels noisier than all values, the smallest in these; values outside are clipped
entropy   the range that loses the least information (Kullback-Leibler divergence), as TensorRT's calibrator

Not a percentile: rectification scales up the border of a plane, so its largest values lie there, and a percentile
would clip the border alone. So does a mean over all values, which 4 corners of 56×56 pixels hardly change. By it alone,
the worst corner of RF-ResNet-50 reached 20.9 dB on OpenVINO, and the outputs 49.0. With a bound of 6 dB these were 28.7
and 48.7, of 3 dB 29.0 and 48.9. Bounds below 6 cost small planes more than they bring: wider ranges have larger steps.
Source of entropy: Migacz, 8-bit inference with TensorRT, GTC 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rectexport.exporter.quantize.parameters import Parameters, Values, parameters_of
from rectexport.runtime.base.metrics import REGIONS, has_regions, region_masks

BINS = 4096
#: Decibels that the noise of a region may be above that of all values before it decides.
BEHIND = 6.0
#: Fractions of the whole range that are tried.
_FRACTIONS = np.linspace(0.3, 1.0, 71)
#: Levels that a distribution is reduced to, and the steps in bins between candidates.
_LEVELS, _STEP = 128, 32


@dataclass
class Distribution:
    """Values of one tensor over the calibration data.

    low, high   the smallest and the largest value
    mean        of each channel, axis 1; None before the first values and for values without channels
    lows, highs the smallest and the largest value of each channel; None as well
    squares     the mean square of each channel; None as well
    planes      whether the axes behind the channels are places of an image, a line or a volume
    counts      for each of REGIONS, how many values other than 0 lie in each of BINS equal parts of low..high; 0 itself
                is always exact. Without planes, all values count as interior
    sizes       for each of REGIONS, how many values were counted, 0 included
    """

    low: float = float("inf")
    high: float = float("-inf")
    mean: Values | None = None
    lows: Values | None = None
    highs: Values | None = None
    squares: Values | None = None
    planes: bool = True
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(REGIONS), BINS), np.int64))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(REGIONS), np.int64))
    _rows: int = 0

    def widen(self, values: Values) -> None:
        """Take the ends of these values into the range."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if values.ndim >= 2 and (self.mean is None or len(self.mean) == values.shape[1]):  # tokens vary in number
            axes = (0, *range(2, values.ndim))
            rows, own = len(values), values.mean(axis=axes)
            lows, highs = values.min(axis=axes), values.max(axis=axes)
            self.lows = lows if self.lows is None else np.minimum(self.lows, lows)
            self.highs = highs if self.highs is None else np.maximum(self.highs, highs)
            square = np.square(values).mean(axis=axes)
            self._rows += rows
            part = rows / self._rows
            self.mean = own if self.mean is None else self.mean + (own - self.mean) * part
            self.squares = square if self.squares is None else self.squares + (square - self.squares) * part

    @property
    def spread(self) -> Values:
        """The standard deviation of each channel."""
        assert self.mean is not None and self.squares is not None
        return np.sqrt(np.maximum(self.squares - np.square(self.mean), 0.0))

    def count(self, values: Values) -> None:
        """Count these values; the range must be known."""
        if self.high > self.low:
            rest, size = self._histogram(values), values.size
            masks = region_masks(values.shape[2:]) if self.planes and has_regions(values) else {}
            for place, name in enumerate(REGIONS[:-1]):
                if name in masks:
                    part = values[..., masks[name]]
                    found = self._histogram(part)
                    self.counts[place] += found
                    self.sizes[place] += part.size
                    rest, size = rest - found, size - part.size
            self.counts[-1] += rest
            self.sizes[-1] += size

    def _histogram(self, values: Values) -> NDArray[np.int64]:
        return np.histogram(values[values != 0], BINS, (self.low, self.high))[0]

    @property
    def centers(self) -> Values:
        """The middle of each bin."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2


def best_parameters(found: Distribution, method: str, dtype: str) -> Parameters:
    """The parameters for a tensor by one of the methods: "mse", "minmax", "entropy"."""
    if method == "minmax" or not found.high > found.low or not found.counts.any():
        return parameters_of(found.low, found.high, dtype)
    if method == "entropy":
        limit = _entropy_limit(found)
        return parameters_of(max(found.low, -limit), min(found.high, limit), dtype)
    candidates = [parameters_of(fraction * found.low, fraction * found.high, dtype) for fraction in _FRACTIONS]
    centers, counts = found.centers, _relative_counts(found)
    errors = [float((counts @ np.square(entry.rounded(centers) - centers)).max()) for entry in candidates]
    return candidates[int(np.argmin(errors))]


def _relative_counts(found: Distribution) -> Values:
    """Counts of all values and of each region, divided by the energy; those of regions also by what BEHIND allows.

    A region's energy is no less than it would be at the mean energy, as in compare_regions.
    """
    energies = found.counts @ np.square(found.centers)
    least = energies.sum() / found.sizes.sum() * found.sizes
    there = found.sizes > 0
    whole = found.counts.sum(axis=0) / energies.sum()
    regions = found.counts[there] / np.maximum(energies, least)[there, None]
    return np.vstack([whole, regions / 10 ** (BEHIND / 10)])


def _entropy_limit(found: Distribution) -> float:
    """The magnitude at which clipping loses least."""
    largest = max(abs(found.low), abs(found.high))
    counts, edges = np.histogram(
        np.abs(found.centers), BINS, (0.0, largest), weights=found.counts.sum(axis=0).astype(np.float64)
    )
    best, limit = np.inf, largest
    for width in range(_LEVELS, BINS + 1, _STEP):
        divergence = _divergence(counts, width)
        if divergence < best:
            best, limit = divergence, float(edges[width])
    return limit


def _divergence(counts: Values, width: int) -> float:
    """KL divergence of the distribution clipped to `width` bins from the same in _LEVELS levels."""
    wanted = counts[:width].copy()
    wanted[-1] += counts[width:].sum()
    starts = np.arange(_LEVELS) * width // _LEVELS
    level = np.searchsorted(starts, np.arange(width), side="right") - 1
    present = counts[:width] > 0
    totals = np.add.reduceat(counts[:width], starts)
    members = np.maximum(np.add.reduceat(present.astype(np.float64), starts), 1)
    given = np.where(present, (totals / members)[level], 0.0)
    if not wanted.sum() or not given.sum():
        return float("inf")
    first, second = wanted / wanted.sum(), given / given.sum()
    both = (first > 0) & (second > 0)
    lost = first[(first > 0) & (second == 0)].sum()
    return float((first[both] * np.log(first[both] / second[both])).sum() + lost * np.log(1e4))
