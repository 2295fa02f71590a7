"""The windows of a package's outputs, as its manifest records them under `tiling`.

Along one axis, output index o depends on input indices within [stride * o + low, stride * o + high], cut to the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package

FIELD = "tiling"


@dataclass(frozen=True)
class AxisWindow:
    """One axis of one output. A tile's first index must be a multiple of `align`."""

    stride: Fraction
    low: Fraction
    high: Fraction
    align: int

    def end_valid(self, stop: int) -> int:
        """The output index behind the last that a tile which ends before `stop`, inside the image, gives right."""
        return int((stop - 1 - self.high) // self.stride) + 1

    def latest_start(self, done: int) -> int:
        """The largest aligned start of a tile that gives output index `done`."""
        return int((self.stride * done + self.low) // self.align) * self.align

    def place(self, start: int) -> int:
        """The output index of a tile's first output."""
        return int(start / self.stride)

    @property
    def halo(self) -> tuple[int, int]:
        """Input pixels on either side of an output's own that it depends on."""
        return max(_ceil(-self.low), 0), max(_ceil(self.high - self.stride + 1), 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; fractions as text."""
        window = {"stride": str(self.stride), "low": str(self.low), "high": str(self.high)}
        return {**window, "align": self.align, "halo": list(self.halo)}


def _ceil(value: Fraction) -> int:
    return -int(-value // 1)


def read_windows(package: Package) -> dict[str, tuple[AxisWindow, ...]]:
    """The windows of every output, axis by axis.

    Raises BadInput for a package without them, or with an output that no window is known for, with the reason that was
    found at export.
    """
    entries = package.manifest.data.get(FIELD)
    if not isinstance(entries, Mapping):
        raise BadInput(f"{package.path}: its manifest has no windows for tiling; export the model again")
    found = {}
    for entry in package.manifest.outputs:
        what = entries.get(entry.name)
        if not isinstance(what, Mapping) or "refused" in what:
            reason = what.get("refused") if isinstance(what, Mapping) else "nothing is recorded"
            raise BadInput(
                f"{package.path}: output {entry.name} cannot be computed tile by tile: {reason!s:.300}; "
                "run the whole image, or export a model that ends before that node"
            )
        try:
            found[entry.name] = tuple(_read(axis) for axis in _sequence(what["axes"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            raise BadInput(f"{package.path}: {FIELD}.{entry.name}: not windows; export the model again") from None
    return found


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _read(entry: Mapping[str, Any]) -> AxisWindow:
    window = AxisWindow(Fraction(entry["stride"]), Fraction(entry["low"]), Fraction(entry["high"]), int(entry["align"]))
    if window.stride <= 0 or window.align < 1 or window.align % window.stride.numerator:
        raise ValueError
    return window
