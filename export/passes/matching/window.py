"""The window of a convolution: how it moves over the input, and which tap counts its outputs can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import MAX_SIDE, static_sizes
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.rectification import taps

#: Larger kernels are not read: the taps of a window are counted one by one.
LARGEST_KERNEL = 1 << 10
#: With a wider gap between taps, a window is assumed to be able to miss the input.
LARGEST_GAP = 1 << 6
#: Windows along more axes are not read.
MOST_AXES = 3


@dataclass(frozen=True)
class Window:
    """A kernel along one, two or three axes, its strides, ONNX pads (begins, then ends) and dilations."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def axes(self) -> int:
        """How many axes it moves along."""
        return len(self.kernel)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The output along each axis for an input of `size`; below 1 where the window does not fit."""
        return tuple(
            (size[axis] + self.pads[axis] + self.pads[axis + self.axes] - self._reach(axis)) // self.strides[axis] + 1
            for axis in range(self.axes)
        )

    def axis_taps(self, size: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
        """Taps inside the input along each axis, by output."""
        out = self.output_size(size)
        return tuple(
            taps(size[axis], out[axis], self.kernel[axis], self.strides[axis], self.pads[axis], self.dilations[axis])
            for axis in range(self.axes)
        )

    def _reach(self, axis: int) -> int:
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    def possible_taps(self, axis: int) -> NDArray[np.bool_]:
        """Which counts 0..kernel an axis may have when its size is unknown."""
        possible = np.ones(self.kernel[axis] + 1, np.bool_)
        reach = (self.kernel[axis] - 1) * self.dilations[axis]
        overhangs = max(self.pads[axis], self.pads[axis + self.axes]) > reach
        possible[0] = overhangs or self._straddles(axis)
        return possible

    def _straddles(self, axis: int) -> bool:
        """Whether an input, shorter than the gap between two taps, can lie in that gap."""
        if self.kernel[axis] == 1:
            return False
        if self.dilations[axis] > LARGEST_GAP:
            return True
        sides = [(length, self.output_size((length,) * self.axes)[axis]) for length in range(1, self.dilations[axis])]
        geometry = (self.kernel[axis], self.strides[axis], self.pads[axis], self.dilations[axis])
        return any(out > 0 and not taps(length, out, *geometry).all() for length, out in sides)


def read_window(values: Values, node: gs.Node) -> Window | None:
    """The window of a Conv or AveragePool along one, two or three axes.

    None when it has more, pads by a rule that needs its size, or has attributes that no convolution has.
    """
    kernel = node.attrs.get("kernel_shape")
    if kernel is None and node.op == "Conv":
        weight = node.inputs[1]
        kernel = weight.shape[2:] if weight.shape is not None else None
    if kernel is None or not 1 <= len(kernel) <= MOST_AXES or not all(isinstance(size, int) for size in kernel):
        return None
    count = len(kernel)
    strides, dilations = (node.attrs.get(name, [1] * count) for name in ("strides", "dilations"))
    if not all(_sane(values, count, 1) for values in (kernel, strides, dilations)) or max(kernel) > LARGEST_KERNEL:
        return None
    plain = Window(_ints(kernel), _ints(strides), (0,) * 2 * count, _ints(dilations))
    rule = node.attrs.get("auto_pad", "NOTSET")
    if rule == "VALID":
        return plain
    pads = node.attrs.get("pads", [0] * 2 * count) if rule == "NOTSET" else _same_pads(node, plain, rule)
    if pads is None or not _sane(pads, 2 * count, 0):
        return None
    return Window(plain.kernel, plain.strides, _ints(pads), plain.dilations)


def read_plane_window(values: Values, node: gs.Node) -> Window | None:
    """`read_window` along two axes; None for any other number."""
    window = read_window(values, node)
    return window if window is not None and window.axes == 2 else None


def _same_pads(node: gs.Node, window: Window, rule: str) -> list[int] | None:
    """Pads that keep ceil(size / stride) outputs; None where the size is unknown."""
    size = static_sizes(node.inputs[0], window.axes)
    if size is None:
        return None
    begins, ends = [], []
    for axis in range(window.axes):
        outputs = -(-size[axis] // window.strides[axis])
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        total = max((outputs - 1) * window.strides[axis] + reach - size[axis], 0)
        less, more = total // 2, total - total // 2
        begins.append(less if rule == "SAME_UPPER" else more)
        ends.append(more if rule == "SAME_UPPER" else less)
    return [*begins, *ends]


def _sane(values: list[int], length: int, least: int) -> bool:
    return len(values) == length and all(least <= int(value) <= MAX_SIDE for value in values)


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
