"""How many windows a pool with ceil_mode has along an axis.

Size n, window extent k = dilation · (kernel − 1) + 1, stride s, padding b before and e behind, m = n + b + e:

    o = ⌈(m − k) / s⌉ + 1 windows; the last is left out where it begins behind the input, (o − 1) · s ≥ n + b

Where s + e ≤ k no window begins behind the input, whatever n is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a pool; size None where it is open."""

    size: int | None
    extent: int
    stride: int
    before: int
    behind: int

    @property
    def never_left_out(self) -> bool:
        """Whether no window begins behind the input, at any size."""
        return self.stride + self.behind <= self.extent

    @property
    def left_out(self) -> bool:
        """Whether the last window begins behind the input, for a known size."""
        return not self.never_left_out and self._last * self.stride >= (self.size or 0) + self.before

    @property
    def fitting(self) -> int:
        """Padding behind with which the windows that count fit exactly; negative where elements are in no window."""
        last = self._last - self.left_out
        return last * self.stride + self.extent - (self.size or 0) - self.before

    @property
    def _last(self) -> int:
        whole = (self.size or 0) + self.before + self.behind - self.extent
        return -(-whole // self.stride)


def pool_axes(
    sizes: Sequence[int | None] | None,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> list[Axis]:
    """The axes of a pool from its attributes; empty strides, pads and dilations stand for ONNX's defaults."""
    count = len(kernel)
    sizes, pads = sizes or [None] * count, pads or [0] * 2 * count
    extents = [step * (size - 1) + 1 for step, size in zip(dilations or [1] * count, kernel, strict=True)]
    rows = zip(sizes, extents, strides or [1] * count, pads[:count], pads[count:], strict=True)
    return [Axis(*row) for row in rows]
