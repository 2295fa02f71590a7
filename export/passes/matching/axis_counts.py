"""Recognise tap counts along one axis that a graph computes from sizes: Range, then integer arithmetic.

Our own exports with dynamic H and W are written like that. The vector is a function of the output's index and of two
sizes, those of x and y. It is compared with the counts at every size up to a few periods (stride * dilation) beyond
the window. That suffices, because a vector made of + - * / max min is periodic from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.sizes import entries, size
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.matching.window import Window
from rectexport.exporter.passes.rectification import taps

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Neg": np.negative,
}
#: The axis of a vector of counts, by the shape that lets it broadcast over the other axis.
_STANDING = {(1, 1, -1, 1): 0, (1, 1, 1, -1): 1}


def counted_axis(values: Values, tensor: gs.Tensor, conv: gs.Node, window: Window) -> int | None:
    """0 or 1 when the tensor holds the convolution's tap counts along H or W, broadcast over the rest."""
    node = producer(tensor, "Reshape")
    shape = values.of(node.inputs[1]) if node is not None else None
    axis = _STANDING.get(tuple(shape.tolist())) if shape is not None else None
    if node is None or axis is None:
        return None
    period = window.strides[axis] * window.dilations[axis]
    reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
    for length in range(1, reach + window.pads[axis] + window.pads[axis + 2] + 3 * period + 1):
        out = window.output_size((length, length))[axis]
        if out < 1:
            continue
        found = _AxisArithmetic(values, conv, axis, length, out).of(node.inputs[0])
        geometry = (window.kernel[axis], window.strides[axis], window.pads[axis], window.dilations[axis])
        if found is None or not np.array_equal(found, taps(length, out, *geometry)):
            return None
    return axis


class _AxisArithmetic:
    """Evaluates a vector for one size of x along one axis, and the size of y that follows."""

    def __init__(self, values: Values, conv: gs.Node, axis: int, length: int, out: int) -> None:
        self._values = values
        sizes = [size(values, tensor, axis + 2) for tensor in (conv.inputs[0], conv.outputs[0])]
        self._sizes = dict(zip(sizes, (length, out), strict=True))

    def of(self, tensor: gs.Tensor) -> NDArray[Any] | None:
        known = self._values.of(tensor)
        if known is not None:
            return known if known.dtype.kind == "i" else None
        node = producer(tensor, "Range", "Div", "Cast", "Identity", *_OPERATIONS)
        if node is None:
            found = entries(self._values, tensor)
            length = self._sizes.get(found[0]) if found is not None and len(found) == 1 else None
            return None if length is None else np.asarray(length)
        inputs: list[Any] = [self.of(entry) for entry in node.inputs]
        return None if any(entry is None for entry in inputs) else _apply(node, inputs)


def _apply(node: gs.Node, inputs: list[Any]) -> NDArray[Any] | None:
    if node.op == "Range":
        return np.arange(*(int(entry) for entry in inputs))
    if node.op == "Div":  # ONNX divides integers towards zero
        return None if np.any(inputs[1] == 0) else np.trunc(inputs[0] / inputs[1]).astype(np.int64)
    if node.op in ("Cast", "Identity"):
        return np.asarray(inputs[0])
    if node.op == "Neg" or len(inputs) == 2:
        return np.asarray(_OPERATIONS[node.op](*inputs))
    return None
