"""Cuts one axis of an image into overlapping pieces, so that each output index is right in one of them.

Given: a window for each output (see `windows`). Result: pieces of equal length, the last one shorter by less than the
alignment. Not when: a piece is too short to hold a single output with its window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rectexport.runtime.errors import UsageError
from rectexport.runtime.tiling.windows import AxisWindow


@dataclass(frozen=True)
class Piece:
    """Input indices [start, stop), and for each output the indices [first, end) to keep; None: up to the last."""

    start: int
    stop: int
    keep: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many input indices."""
        return self.stop - self.start


def cut(size: int, tile: int, windows: Mapping[str, AxisWindow]) -> list[Piece]:
    """Pieces that cover an axis of `size` pixels.

    Raises UsageError for a tile that is too small, with the smallest that works.
    """
    align = max(window.align for window in windows.values())
    starts, done = [0], dict.fromkeys(windows, 0)
    pieces: list[Piece] = []
    while True:
        start = starts[-1]
        stop = min(start + tile, size)
        keep: dict[str, tuple[int, int | None]] = {}
        for name, window in windows.items():
            end = None if stop == size else window.end_valid(stop)
            keep[name] = (done[name], end)
            done[name] = done[name] if end is None else max(end, done[name])
        pieces.append(Piece(start, stop, keep))
        if stop == size:
            return pieces
        following = min(window.latest_start(done[name]) for name, window in windows.items())
        last = -(-max(size - tile, 0) // align) * align  # the last piece is as long as the others, if it can be
        following = min(following, last)
        if following <= start:
            needed = smallest_tile(windows)
            raise UsageError(f"tile {tile}: too small for these windows; the smallest that works is {needed}")
        starts.append(following)


def smallest_tile(windows: Mapping[str, AxisWindow]) -> int:
    """The smallest tile that every output needs: its window, the alignment, and one output."""
    align = max(window.align for window in windows.values())
    spans = (window.high - window.low + window.stride + 2 * align for window in windows.values())
    return -(-int(max(spans) + 1) // align) * align
