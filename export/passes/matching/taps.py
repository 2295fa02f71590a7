"""Read tensors that depend on a convolution's tap counts alone, as tables over those counts.

A pixel whose window has a rows and b columns inside the input has v = a*b valid taps. Every factor that
rectifies is a function of (a, b), and possibly of the channel, so it becomes a table
[m + 1, n + 1, 1 or C] in float64, in whichever of these ways the graph computes it and whether H and W are known; with
one and three axes likewise, as a table over one and three counts:

    an initializer [1, 1, H_out, W_out]      looked up at each pixel; all pixels of a class must agree
    Conv(ones), AveragePool(ones)            a*b, a*b/(m*n)
    Range and arithmetic on sizes            a or b (see axis_counts)
    Div, Clip, Reciprocal, Where, … of those their elementwise results
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import producer, static_sizes
from rectexport.exporter.passes.matching.axis_counts import counted_axis
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.sizes import size
from rectexport.exporter.passes.matching.uniform import uniform_plane
from rectexport.exporter.passes.matching.window import Window, read_window

Table = NDArray[np.float64]
#: The relative difference allowed between pixels of one class; float32 rounding is a tenth of it.
TOLERANCE = 1e-6

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Reciprocal": np.reciprocal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "Equal": np.equal,
    "Not": np.logical_not,
    "Where": np.where,
}
_FLOATS_AND_BOOL = (1, 9, 10, 11, 16)  # TensorProto: float, bool, float16, double, bfloat16


@dataclass(frozen=True)
class Operand:
    """A table, and whether it came from a plane of pixels rather than from a number or one per channel."""

    table: Table
    plane: bool


class TapTables:
    """Reads tensors as tables over the tap counts of one convolution whose number of output channels is known."""

    def __init__(self, scene: Scene, conv: gs.Node, window: Window) -> None:
        self.window = window
        self.channels = int(conv.inputs[1].shape[0])
        self._scene, self._conv, self._x = scene, conv, conv.inputs[0]
        self._size = static_sizes(self._x, window.axes)
        self._seen: dict[int, Operand | None] = {}
        if self._size is None:
            possible = (window.possible_taps(axis) for axis in range(window.axes))
            self.reachable = reduce(np.logical_and.outer, possible)
        else:
            self._taps = window.axis_taps(self._size)
            self.reachable = np.zeros([size + 1 for size in window.kernel], np.bool_)
            self.reachable[np.ix_(*self._taps)] = True

    def counts(self) -> Table:
        """v of every class. [m + 1, n + 1]."""
        counts: Table = reduce(np.multiply.outer, (np.arange(size + 1.0) for size in self.window.kernel))
        return counts

    def read(self, tensor: gs.Tensor) -> Operand | None:
        """The tensor as a table, or None when it depends on anything else."""
        if id(tensor) not in self._seen:
            self._seen[id(tensor)] = self._read(tensor)
        return self._seen[id(tensor)]

    def _read(self, tensor: gs.Tensor) -> Operand | None:
        value = self._scene.values.of(tensor)
        if value is not None:
            return self._look_up(value)
        if producer(tensor, "Conv", "AveragePool") is not None:
            return self._count(tensor.inputs[0])
        axis = counted_axis(self._scene.values, tensor, self._conv, self.window)
        if axis is not None:
            standing = [-1 if other == axis else 1 for other in range(self.window.axes)]
            return Operand(np.arange(self.window.kernel[axis] + 1.0).reshape(*standing, 1), plane=True)
        if producer(tensor, "Identity", "Cast", "Clip", *ELEMENTWISE) is not None:
            return compute(tensor.inputs[0], self.read)
        return None

    def _look_up(self, value: NDArray[Any]) -> Operand | None:
        rank, ones = 2 + self.window.axes, (1,) * self.window.axes
        if value.ndim > rank or value.dtype.kind not in "fiub":
            return None
        planes: NDArray[Any] = value.astype(np.float64).reshape([1] * (rank - value.ndim) + list(value.shape))
        if planes.shape[0] != 1:
            return None
        single = planes.shape[2:] == ones
        out = self.window.output_size(self._size) if self._size is not None else None
        if single and not (out == ones and value.ndim == rank and planes.shape[1] == 1):
            return Operand(planes.reshape(*ones, -1), plane=False)
        if out is None or any(mine not in (1, its) for mine, its in zip(planes.shape[2:], out, strict=True)):
            return None
        return self._classify(np.broadcast_to(planes[0], (planes.shape[1], *out)))

    def _classify(self, planes: Table) -> Operand | None:
        """Constant planes [C, H_out, W_out] as a table, if all pixels of a class have one value."""
        at = np.meshgrid(*self._taps, indexing="ij")
        table = np.full((*self.reachable.shape, len(planes)), np.nan)
        table[tuple(at)] = np.moveaxis(planes, 0, -1)
        back = np.moveaxis(table[tuple(at)], -1, 0)
        agree = np.abs(back - planes) <= TOLERANCE * np.abs(planes)
        return Operand(table, plane=True) if bool(agree.all()) else None

    def _count(self, node: gs.Node) -> Operand | None:
        """Conv or AveragePool of a uniform plane as large as the convolution's input."""
        plane = uniform_plane(self._scene.values, node.inputs[0], 2 + self.window.axes)
        if plane is None or read_window(self._scene.values, node) != self.window or not self._like_x(plane.sizes):
            return None
        if node.op == "AveragePool":
            if node.attrs.get("ceil_mode", 0):
                return None
            padded = bool(node.attrs.get("count_include_pad", 0))
            divisor = np.prod(self.window.kernel) if padded else np.maximum(self.counts(), 1)
            return Operand((plane.value * self.counts() / divisor)[..., None], plane=True)
        weight = self._scene.values.of(node.inputs[1])
        if weight is None or (len(node.inputs) > 2 and node.inputs[2].name):
            return None
        flat = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
        if not np.array_equal(flat, np.broadcast_to(flat[:, :, :1], flat.shape)):
            return None
        return Operand(plane.value * self.counts()[..., None] * flat[:, :, 0].sum(axis=1), plane=True)

    def _like_x(self, sizes: list[Any]) -> bool:
        """Whether a plane is as high and wide as x, and its batch broadcasts."""
        mine = [size(self._scene.values, self._x, axis) for axis in range(2 + self.window.axes)]
        return sizes[2:] == mine[2:] and sizes[0] in (1, mine[0])


def compute(node: gs.Node, read: Callable[[gs.Tensor], Operand | None]) -> Operand | None:
    """What an elementwise node, an Identity or a Cast makes of tables; None where an input is none."""
    if node.op == "Cast" and int(node.attrs["to"]) not in _FLOATS_AND_BOOL:
        return None
    operands = [read(entry) if entry.name else None for entry in node.inputs]
    if any(operand is None and entry.name for operand, entry in zip(operands, node.inputs, strict=True)):
        return None
    tables: list[Any] = [None if operand is None else operand.table for operand in operands]
    with np.errstate(all="ignore"):
        table = np.asarray(_apply(node, tables), np.float64)
    return Operand(table, any(operand is not None and operand.plane for operand in operands))


def _apply(node: gs.Node, tables: list[Any]) -> Any:
    if node.op == "Cast":
        return tables[0] != 0 if int(node.attrs["to"]) == 9 else tables[0]
    if node.op == "Identity":
        return tables[0]
    if node.op == "Clip":
        low, high = ([*tables[1:], None, None])[:2]
        return np.minimum(np.maximum(tables[0], -np.inf if low is None else low), np.inf if high is None else high)
    if node.op == "Where":
        return np.where(tables[0] != 0, tables[1], tables[2])
    if node.op in ("Max", "Min"):
        return reduce(ELEMENTWISE[node.op], tables)
    return ELEMENTWISE[node.op](*tables)
