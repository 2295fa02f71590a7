"""Fold masked partial convolutions whose mask is known to be 1 everywhere into rectified ones.

Given   u = MaskedCount(m) over a window ; y = conv(x * m) over it ; z = MaskedRectify(y, u, b), numerator q
        m a plane of one number c > 0: ones, or the sum of C channels of ones
Result  y = conv(x) ; z = Rectify(y, x, b), numerator q / c, and its empty_bias

u is c*v, with v the taps of a window inside the input, so q/u = (q/c)/v, and b is left out where v = 0 as where u = 0.
Where no window can be empty, the next mask min(u, 1) is 1 everywhere, and the layers behind it fold too.

Not when m is another tensor, q/c is no whole number, the convolution has another window, or the numerator is neither
the number of taps nor 1.
"""

from __future__ import annotations

from math import prod
from typing import Any

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN, RECTIFIES
from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    dialect_nodes,
    is_output,
    is_standard,
    label,
    made_by,
    open_graph,
    producer,
    replace_reads,
    static_sizes,
)
from rectexport.exporter.passes.matching.uniform import uniform_plane
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.matching.window import Window, read_window

NAME = "masked_ones"
#: Operators that keep a plane of one number as it is.
_KEEPS = ("Expand", "Identity", "Cast", "Resize", "Concat")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Fold every MaskedRectify of a mask of ones."""
    graph, record = open_graph(model), PassRecord(NAME)
    if any(True for _ in dialect_nodes(graph, "MaskedRectify")):
        planes = _Planes(graph)
        for node in dialect_nodes(graph, "MaskedRectify"):
            count = made_by(node.inputs[1])
            number = None if count is None or count.op != "MaskedCount" else planes.number(count.inputs[0])
            if count is not None and number is not None:
                name, reason = label(node), _fold(graph, node, count, number, planes)
                if reason:
                    record.refuse(name, reason, Code.MISMATCH)
                else:
                    record.fire(name)
    return (close_graph(graph, model) if record.fired else model), record.result()


class _Planes:
    """Which tensors are planes of one number."""

    def __init__(self, graph: gs.Graph) -> None:
        self.values = Values(graph)
        self._seen: dict[int, float | None] = {}

    def number(self, tensor: gs.Tensor) -> float | None:
        """The number; None for any other tensor."""
        if id(tensor) not in self._seen:
            self._seen[id(tensor)] = self._read(tensor)
        return self._seen[id(tensor)]

    def _read(self, tensor: gs.Tensor) -> float | None:
        if tensor.shape is not None:
            plane = uniform_plane(self.values, tensor, len(tensor.shape))
            if plane is not None:
                return plane.value
        node = producer(tensor)
        if node is None:
            return None
        if node.op == "Resize" and node.attrs.get("mode", "nearest") not in ("nearest", b"nearest"):
            return None
        if node.op in _KEEPS:
            parts = {self.number(entry) for entry in (node.inputs if node.op == "Concat" else node.inputs[:1])}
            return parts.pop() if len(parts) == 1 else None
        if node.op == "ReduceSum":
            return self._summed(node)
        return self._capped(node) if node.op in ("Clip", "Min") else None

    def _summed(self, node: gs.Node) -> float | None:
        axes = self.values.of(node.inputs[1]) if len(node.inputs) > 1 else None
        number, shape = self.number(node.inputs[0]), node.inputs[0].shape
        if axes is None or axes.tolist() != [1] or number is None or shape is None or not isinstance(shape[1], int):
            return None
        return number * shape[1]

    def _capped(self, node: gs.Node) -> float | None:
        """min(u, 1) of a count that is 1 or more at every window."""
        bounds = node.inputs[2:] if node.op == "Clip" else node.inputs[1:]
        most = self.values.of(bounds[0]) if len(bounds) == 1 and bounds[0].name else None
        least = self.values.of(node.inputs[1]) if node.op == "Clip" and node.inputs[1].name else None
        if most is None or most.size != 1 or float(most) != 1 or (least is not None and (least > 1).any()):
            return None
        own = self.number(node.inputs[0])
        if own is not None:
            return min(own, 1.0)
        count = made_by(node.inputs[0])
        if count is None or count.op != "MaskedCount" or is_standard(count):
            return None
        number = self.number(count.inputs[0])
        return 1.0 if number is not None and number >= 1 and _never_empty(count) else None


def _never_empty(count: gs.Node) -> bool:
    """Whether each window has a tap inside a mask of any size that it may have."""
    window = _window(count)
    size = static_sizes(count.inputs[0], window.axes)
    if size is None:
        return not any(window.possible_taps(axis)[0] for axis in range(window.axes))
    return all(bool(taps.all()) for taps in window.axis_taps(size))


def _window(count: gs.Node) -> Window:
    kernel, strides, pads, dilations = (
        tuple(count.attrs[name]) for name in ("kernel_shape", "strides", "pads", "dilations")
    )
    return Window(kernel, strides, pads, dilations)


def _fold(graph: gs.Graph, node: gs.Node, count: gs.Node, number: float, planes: _Planes) -> str:
    """Fold one; the reason where it must stay."""
    y, z = node.inputs[0], node.outputs[0]
    conv, window = producer(y, "Conv"), _window(count)
    if conv is None or read_window(planes.values, conv) != window:
        return "what it scales is no convolution over the window of its mask"
    numerator = node.attrs["numerator"] / number if number > 0 else 0.5
    if numerator not in (1, prod(window.kernel)):
        return f"its numerator {node.attrs['numerator']} over a mask of {number:g} is neither 1 nor its number of taps"
    _drop_mask(graph, conv, planes)
    attributes: dict[str, Any] = {
        name: list(count.attrs[name]) for name in ("kernel_shape", "strides", "pads", "dilations")
    }
    attributes |= {"numerator": int(numerator), "empty_bias": node.attrs["empty_bias"]}
    inputs = [y, conv.inputs[0], node.inputs[2]]
    node.outputs.clear()
    graph.nodes.append(gs.Node(RECTIFIES[window.axes], f"{z.name}.rectify", attributes, inputs, [z], domain=DOMAIN))
    return ""


def _drop_mask(graph: gs.Graph, conv: gs.Node, planes: _Planes) -> None:
    """Let the convolution read x where it reads x * 1."""
    product = producer(conv.inputs[0], "Mul")
    if product is None or product.outputs[0].shape is None:
        return
    for x, mask in (product.inputs, product.inputs[::-1]):
        if planes.number(mask) == 1 and x.shape is not None and list(x.shape) == list(product.outputs[0].shape):
            if not is_output(graph, product.outputs[0]):
                replace_reads(product.outputs[0], x)
            return
