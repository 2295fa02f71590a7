"""The window of a convolution: how it moves over the input, and which tap counts its outputs can have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import MAX_SIDE, static_size
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.rectification import taps

#: Larger kernels are not read: the taps of a window are counted one by one.
LARGEST_KERNEL = 1 << 10
#: With a wider gap between taps, a window is assumed to be able to miss the input.
LARGEST_GAP = 1 << 6


@dataclass(frozen=True)
class Window:
    """A kernel, its strides, ONNX pads (top, left, bottom, right) and dilations."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H_out, W_out) over a plane of `size`; below 1 where the window does not fit."""
        padded = [size[axis] + self.pads[axis] + self.pads[axis + 2] for axis in (0, 1)]
        reach = [self.dilations[axis] * (self.kernel[axis] - 1) + 1 for axis in (0, 1)]
        rows, columns = ((padded[axis] - reach[axis]) // self.strides[axis] + 1 for axis in (0, 1))
        return rows, columns

    def axis_taps(self, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Taps inside the input, by output row and by output column."""
        out = self.output_size(size)
        rows, columns = (
            taps(size[axis], out[axis], self.kernel[axis], self.strides[axis], self.pads[axis], self.dilations[axis])
            for axis in (0, 1)
        )
        return rows, columns

    def possible_taps(self, axis: int) -> NDArray[np.bool_]:
        """Which counts 0..kernel an axis may have when its size is unknown."""
        possible = np.ones(self.kernel[axis] + 1, np.bool_)
        reach = (self.kernel[axis] - 1) * self.dilations[axis]
        overhangs = max(self.pads[axis], self.pads[axis + 2]) > reach
        possible[0] = overhangs or self._straddles(axis)
        return possible

    def _straddles(self, axis: int) -> bool:
        """Whether an input, shorter than the gap between two taps, can lie in that gap."""
        if self.kernel[axis] == 1:
            return False
        if self.dilations[axis] > LARGEST_GAP:
            return True
        sides = [(length, self.output_size((length, length))[axis]) for length in range(1, self.dilations[axis])]
        geometry = (self.kernel[axis], self.strides[axis], self.pads[axis], self.dilations[axis])
        return any(out > 0 and not taps(length, out, *geometry).all() for length, out in sides)


def read_window(values: Values, node: gs.Node) -> Window | None:
    """The window of a 2-D Conv or AveragePool.

    None when it is not 2-D, pads by a rule that needs its size, or has attributes that no convolution has.
    """
    kernel = node.attrs.get("kernel_shape")
    if kernel is None and node.op == "Conv":
        weight = node.inputs[1]
        kernel = weight.shape[2:] if weight.shape is not None else None
    if kernel is None or len(kernel) != 2 or not all(isinstance(size, int) for size in kernel):
        return None
    strides, dilations = (node.attrs.get(name, [1, 1]) for name in ("strides", "dilations"))
    if not all(_sane(values, 2, 1) for values in (kernel, strides, dilations)) or max(kernel) > LARGEST_KERNEL:
        return None
    plain = Window(_pair(kernel), _pair(strides), (0, 0, 0, 0), _pair(dilations))
    rule = node.attrs.get("auto_pad", "NOTSET")
    if rule == "VALID":
        return plain
    pads = node.attrs.get("pads", [0, 0, 0, 0]) if rule == "NOTSET" else _same_pads(node, plain, rule)
    if pads is None or not _sane(pads, 4, 0):
        return None
    return Window(plain.kernel, plain.strides, (pads[0], pads[1], pads[2], pads[3]), plain.dilations)


def _same_pads(node: gs.Node, window: Window, rule: str) -> list[int] | None:
    """Pads that keep ceil(size / stride) outputs; None where the size is unknown."""
    size = static_size(node.inputs[0])
    if size is None:
        return None
    begins, ends = [], []
    for axis in (0, 1):
        outputs = -(-size[axis] // window.strides[axis])
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        total = max((outputs - 1) * window.strides[axis] + reach - size[axis], 0)
        less, more = total // 2, total - total // 2
        begins.append(less if rule == "SAME_UPPER" else more)
        ends.append(more if rule == "SAME_UPPER" else less)
    return [*begins, *ends]


def _sane(values: list[int], length: int, least: int) -> bool:
    return len(values) == length and all(least <= int(value) <= MAX_SIDE for value in values)


def _pair(values: list[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
