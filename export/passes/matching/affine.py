"""Describe a run of pixelwise steps after a convolution as Wx * g * A + B, and test whether it is a rectification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rectexport.exporter.passes.matching.taps import TOLERANCE, Table
from rectexport.exporter.passes.matching.window import Window

Vector = NDArray[np.float64]


class Counted(Protocol):
    """The counts that tables stand for: taps inside the input, or known values under a window."""

    window: Window
    reachable: NDArray[np.bool_]

    def counts(self) -> Table:
        """The count of every class."""


@dataclass(frozen=True)
class Line:
    """Wx * gain * scale + shift, the last two tables [m + 1 or 1, n + 1 or 1, C or 1]; so along one and three axes.

    gain [C or 1] collects scales per channel, which go into the weights.
    """

    scale: Table
    shift: Table
    gain: Vector

    @staticmethod
    def start(bias: Vector, axes: int = 2) -> Line:
        """A convolution along `axes` axes with its bias [C]."""
        ones = (1,) * axes
        return Line(np.ones((*ones, 1)), bias.reshape(*ones, -1), np.ones(1))

    def step(self, operator: str, table: Table) -> Line:
        """After Mul, Div, Add or Sub by a table."""
        with np.errstate(all="ignore"):
            if operator in ("Add", "Sub"):
                return Line(self.scale, self.shift + (table if operator == "Add" else -table), self.gain)
            factor = table if operator == "Mul" else 1 / table
            if set(table.shape[:-1]) == {1} and table.size > 1:
                return self.norm(factor.reshape(-1), np.zeros(1))
            return Line(self.scale * factor, self.shift * factor, self.gain)

    def select(self, here: Table, other: Table) -> Line:
        """Where the table `here` is true; elsewhere the table `other`."""
        return Line(np.where(here, self.scale, 0.0), np.where(here, self.shift, other), self.gain)

    def norm(self, scale: Vector, shift: Vector) -> Line:
        """After a scale and a shift for each channel, as in BatchNorm."""
        return Line(self.scale, self.shift * scale + shift, self.gain * scale)


@dataclass(frozen=True)
class Fit:
    """r * (gain * Wx + inside) + after, r = numerator / v; no bias after at v = 0 unless empty_bias."""

    numerator: int
    gain: Vector
    inside: Vector | None
    after: Vector
    empty_bias: bool


def fit(line: Line, tables: Counted, bias: Vector, numerators: Sequence[int] = ()) -> Fit | str:
    """The line as a rectification of the convolution, or the reason why not.

    bias [C] is the convolution's own; numerators are those of r = numerator / count, by default the taps of the window
    and 1.
    """
    numerators = numerators or (prod(tables.window.kernel), 1)
    counts, covered = tables.counts(), tables.reachable & (tables.counts() > 0)
    if not covered.any():
        return "every window lies in the padding alone"
    scale = np.broadcast_to(line.scale, (*counts.shape, line.scale.shape[-1]))[covered]
    numerator = _numerator(scale, counts[covered], numerators)
    if numerator is None:
        return f"the factor is no r of this convolution: {_worst(scale, counts[covered], numerators[0])}"
    shift = np.broadcast_to(line.shift, (*counts.shape, line.shift.shape[-1]))
    split = _split(shift[covered], numerator / counts[covered], bias * line.gain)
    if split is None:
        return "what is added is neither a bias inside nor one after"
    inside, after = split
    empty = tables.reachable & (counts == 0)
    if not empty.any():
        return Fit(numerator, line.gain, inside, after, True)
    scale_there = np.broadcast_to(line.scale, (*counts.shape, line.scale.shape[-1]))[empty]
    if not np.isfinite(scale_there).all():
        return "the factor is infinite where a window lies in the padding alone"
    for empty_bias, expected in ((True, after), (False, np.zeros_like(after))):
        if _close(shift[empty], np.broadcast_to(expected, shift[empty].shape)):
            return Fit(numerator, line.gain, inside, after, empty_bias)
    return "where a window lies in the padding alone, the result is neither the bias nor zero"


def _numerator(scale: Table, counts: Table, numerators: Sequence[int]) -> int | None:
    for numerator in numerators:
        if bool(np.all(np.abs(scale * counts[:, None] - numerator) <= TOLERANCE * numerator)):
            return numerator
    return None


def _worst(scale: Table, counts: Table, whole: int) -> str:
    error = np.abs(scale * counts[:, None] - whole).max(axis=1)
    at = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    return f"{scale[at].flat[0]:.6g} at {int(counts[at])} of {whole} taps, r is {whole / counts[at]:.6g}"


def _split(shift: Table, r: Vector, bias: Vector) -> tuple[Vector | None, Vector] | None:
    """inside and after such that shift = r * inside + after at every count; the simplest that fits."""
    high, low = int(np.argmax(r)), int(np.argmin(r))
    zero = np.zeros(1)
    pairs: list[tuple[Vector | None, Vector]] = [(None, shift[low]), (bias, zero)]
    if r[high] > r[low]:
        inside = (shift[high] - shift[low]) / (r[high] - r[low])
        pairs.append((inside, shift[low] - r[low] * inside))
    for inside_, after in pairs:
        expected = after + (0 if inside_ is None else r[:, None] * inside_)
        if _close(shift, np.broadcast_to(expected, np.broadcast_shapes(expected.shape, shift.shape))):
            return inside_, after
    return None


def _close(one: Table, other: Table) -> bool:
    if not np.isfinite(one).all():
        return False
    magnitude = max(float(np.abs(other).max(initial=0.0)), float(np.abs(one).max(initial=0.0)))
    return bool(np.all(np.abs(one - other) <= TOLERANCE * magnitude))
