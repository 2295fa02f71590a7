"""Logarithmic scales: colours for distances, axes for times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Colours from small to large; the style sheet defines them as .s0 to .s8.
STEPS = 9
#: Least decades of a scale, so that equal rounding noise is not spread over all colours.
DECADES = 2


@dataclass(frozen=True)
class Scale:
    """Colours for values from 10**low to 10**high; values above `limit` have a colour of their own."""

    low: int
    high: int
    limit: float

    @classmethod
    def over(cls, values: Sequence[float], limit: float) -> Scale:
        """The scale for these values: whole decades around the finite positive ones."""
        known = [value for value in values if 0 < value < math.inf]
        low, high = min(known, default=1e-8), min(max(known, default=1e-6), max(limit, 1e-300))
        top = max(math.ceil(math.log10(high)), math.floor(math.log10(min(low, high))) + 1)
        return cls(min(math.floor(math.log10(min(low, high))), top - DECADES), top, limit)

    def colour(self, value: float) -> str:
        """The CSS class of a value's colour: s0 to s8, or over."""
        if not value <= self.limit:
            return "over"
        if value <= 0:
            return "s0"
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return f"s{max(0, min(STEPS - 1, int(share * STEPS)))}"

    def legend(self) -> list[tuple[str, str]]:
        """Labels of decades and their places on the scale, in percent."""
        return [(f"1e{decade:+03d}", place) for decade, place in self._decades()]

    def legend_ms(self) -> list[tuple[str, str]]:
        """The same for a scale of milliseconds."""
        return [(f"{10.0**decade:g} ms", place) for decade, place in self._decades()]

    def _decades(self) -> list[tuple[int, str]]:
        span = self.high - self.low
        stride = -(-span // 5)
        return [(d, f"{100 * (d - self.low) / span:.1f}") for d in range(self.low, self.high + 1, stride)]


@dataclass(frozen=True)
class Axis:
    """An axis for times from `low` to `high` ms, logarithmic if they span more than one decade."""

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        """Whether the axis is logarithmic."""
        return self.low > 0 and self.high / self.low > 10

    @classmethod
    def over(cls, values: Sequence[float], most: float = math.inf) -> Axis:
        """From the smallest to the largest value, with a margin that does not go beyond `most`."""
        low, high = min(values), max(values)
        if low > 0 and high / low > 10:
            return cls(low / 1.1, high * 1.1)
        room = (high - low) * 0.04 or high * 0.04 or 1.0
        return cls(max(low - room, 0.0), min(high + room, most))

    def place(self, value: float) -> float:
        """The place of a time on the axis, 0 to 1."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return max(0.0, min(1.0, share))

    def ticks(self) -> list[float]:
        """Round times on the axis, in ms."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            fine = (1, 2, 5) if math.log10(self.high / self.low) < 3 else (1,)
            found = [digit * 10.0**decade for decade in decades for digit in fine]
        else:
            raw = (self.high - self.low) / 4
            step = next(s for k in (1, 2, 5, 10) if (s := k * 10.0 ** math.floor(math.log10(raw))) >= raw)
            first = math.ceil(self.low / step)
            found = [step * index for index in range(first, first + 8)]
        return [tick for tick in found if self.low <= tick <= self.high]
