"""Recognise tap counts along one axis that a graph computes from sizes: Range, then integer arithmetic.

Our own exports with dynamic H and W are written like that. The vector is a function of the output's index i and of two
sizes, n of x and m of y. Only + - * / max min with int64 constants are read, products and quotients only by a constant,
so that no size overflows and the function is linear in pieces: on each residue of n and i by a period P, it is linear
between lines a·n + b·i = c, where |a|, |b| and |c| are bounded by sums over the expression. It is compared with the
true counts at every i for all n up to a limit beyond which no two lines cross, plus the room in which every piece shows
each residue. There, equal on all tried sizes means equal on all sizes. Longer comparisons than LONGEST are not made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import lcm
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.sizes import Size, entries, size
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.matching.window import Window

#: Longest side that is tried; arithmetic that would need a longer one is not read.
LONGEST = 2048
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Max": np.maximum,
    "Min": np.minimum,
}


def _standing(shape: Sequence[int], axes: int) -> int | None:
    """The axis behind N and C along which a vector of counts stands; None for other shapes."""
    found = [
        axis for axis in range(axes) if list(shape) == [1, 1, *(-1 if axis == other else 1 for other in range(axes))]
    ]
    return found[0] if found else None


#: An integer, the name of a size or of the index, or an operator with its operands.
Expression = int | str | tuple[Any, ...]


@dataclass(frozen=True)
class _Axis:
    """A window along one axis."""

    kernel: int
    stride: int
    pads: tuple[int, int]
    dilation: int

    @property
    def reach(self) -> int:
        """Pixels from the first tap to the last."""
        return self.dilation * (self.kernel - 1) + 1

    def outputs(self, length: NDArray[np.int64]) -> NDArray[np.int64]:
        """Windows over inputs of these lengths; below 1 where none fits."""
        return (length + sum(self.pads) - self.reach) // self.stride + 1

    def taps(self, length: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Taps of window `index` that lie inside an input of this length."""
        start = index * self.stride - self.pads[0]
        fitting = np.minimum((length - start + self.dilation - 1) // self.dilation, self.kernel)
        return np.maximum(fitting - np.maximum(-(start // self.dilation), 0), 0)


@dataclass(frozen=True)
class _Bounds:
    """Bounds of the lines between an expression's linear pieces: |a| and |b|, |c|, and the period."""

    slope: int
    offset: int
    period: int

    def joined(self, other: _Bounds) -> _Bounds:
        """Of a sum, a difference, a maximum or a minimum."""
        return _Bounds(self.slope + other.slope, self.offset + other.offset, lcm(self.period, other.period))


def counted_axis(values: Values, tensor: gs.Tensor, conv: gs.Node, window: Window) -> int | None:
    """0, 1 or 2 when the tensor holds the convolution's tap counts along that axis, broadcast over the rest."""
    node = producer(tensor, "Reshape")
    shape = values.of(node.inputs[1]) if node is not None else None
    axis = _standing(shape.tolist(), window.axes) if shape is not None else None
    if node is None or axis is None:
        return None
    sizes = [size(values, entry, axis + 2) for entry in (conv.inputs[0], conv.outputs[0])]
    found = _read(values, node.inputs[0], dict(zip(sizes, ("n", "m"), strict=True)))
    pads = (window.pads[axis], window.pads[axis + window.axes])
    geometry = _Axis(window.kernel[axis], window.strides[axis], pads, window.dilations[axis])
    return axis if found is not None and _counts_taps(found, geometry, sizes[0] == sizes[1]) else None


def _read(values: Values, tensor: gs.Tensor, sizes: dict[Size, str]) -> Expression | None:
    """The tensor as an expression, or None when it is computed in another way."""
    known = values.of(tensor)
    if known is not None:
        return int(known.flat[0]) if known.dtype == np.int64 and known.size == 1 else None
    node = producer(tensor, "Range", "Div", "Mul", "Neg", "Cast", "Identity", *_OPERATIONS)
    if node is None:
        found = entries(values, tensor)
        return sizes.get(found[0]) if found is not None and len(found) == 1 else None
    if node.op == "Cast" and int(node.attrs["to"]) != TensorProto.INT64:
        return None
    operands = [_read(values, entry, sizes) for entry in node.inputs]
    if any(entry is None for entry in operands):
        return None
    if node.op == "Range":
        start, end, step = operands
        return ("Range", end) if (start, step) == (0, 1) else None
    if node.op in ("Cast", "Identity"):
        return operands[0]
    if node.op == "Neg":
        return ("Sub", 0, operands[0])
    return (node.op, *operands)


@lru_cache(maxsize=1024)
def _counts_taps(expression: Expression, axis: _Axis, same_size: bool) -> bool:
    """Whether the expression is the number of taps at every index for every size."""
    if same_size and (axis.stride != 1 or sum(axis.pads) != axis.reach - 1):
        return False  # one name for two sizes that differ
    lines = _bounds(expression, axis)
    if lines is None:
        return False
    own = _Bounds(axis.stride + 2, 2 * (axis.pads[0] + axis.reach), lcm(axis.stride, axis.dilation))
    slope, offset = max(lines.slope, own.slope), max(lines.offset, own.offset, sum(axis.pads) + axis.reach)
    longest = 2 * slope * offset + 2 * slope * slope + 3 * lcm(lines.period, own.period)
    if longest > LONGEST:
        return False
    length = np.arange(1, longest + 1, dtype=np.int64)[:, None]
    outputs = axis.outputs(length)
    index = np.arange(max(int(outputs.max()), 1), dtype=np.int64)[None, :]
    inside = index < outputs
    try:
        found = _evaluate(expression, {"n": length, "m": outputs, "i": index}, inside)
    except ValueError:
        return False
    return bool(np.array_equal(np.broadcast_to(found, inside.shape)[inside], axis.taps(length, index)[inside]))


def _bounds(expression: Expression, axis: _Axis) -> _Bounds | None:
    """None for a product or quotient of two sizes, or by zero."""
    if isinstance(expression, int):
        return _Bounds(0, abs(expression), 1)
    if expression == "m":
        return _Bounds(1, sum(axis.pads) + axis.reach + axis.stride, axis.stride)
    if isinstance(expression, str):
        return _Bounds(1, 0, 1)
    operator, *operands = expression
    if operator == "Range":
        return _Bounds(1, 0, 1)  # its length is compared with the output's below
    if operator in ("Mul", "Div"):
        return _scaled(operator, operands, axis)
    bounds = [_bounds(entry, axis) for entry in operands]
    known = [entry for entry in bounds if entry is not None]
    return reduce(_Bounds.joined, known) if len(known) == len(bounds) else None


def _scaled(operator: str, operands: list[Expression], axis: _Axis) -> _Bounds | None:
    one, other = operands if isinstance(operands[-1], int) else operands[::-1]
    bounds = _bounds(one, axis)
    if bounds is None or not isinstance(other, int) or other == 0:
        return None
    if operator == "Mul":
        return _Bounds(bounds.slope * abs(other), bounds.offset * abs(other), bounds.period)
    if isinstance(operands[0], int):
        return None
    return _Bounds(bounds.slope, bounds.offset + abs(other), bounds.period * abs(other))


def _evaluate(expression: Expression, sizes: dict[str, NDArray[np.int64]], inside: NDArray[np.bool_]) -> Any:
    """The expression at all sizes and indices. Raises ValueError for a Range of another length than the output."""
    if isinstance(expression, int):
        return np.int64(expression)
    if isinstance(expression, str):
        return sizes[expression]
    operator, *operands = expression
    values = [_evaluate(entry, sizes, inside) for entry in operands]
    if operator == "Range":
        real = sizes["m"] >= 1
        if not np.array_equal(np.broadcast_to(values[0], real.shape)[real], sizes["m"][real]):
            raise ValueError("the vector is not as long as the output")
        return sizes["i"]
    if operator == "Mul":
        return values[0] * values[1]
    if operator == "Div":  # ONNX divides integers towards zero
        return np.sign(values[0]) * np.sign(values[1]) * (np.abs(values[0]) // np.abs(values[1]))
    return reduce(_OPERATIONS[operator], values)
