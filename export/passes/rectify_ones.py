"""Count taps with a convolution of ones, for TensorRT, which runs a layer for each node of the arithmetic.

Given   y = Conv(x, w) over a window; r = RectificationMap(x, y) over the same one, along one, two or three axes
Result  v = Conv(ones [1, 1, H, W], ones [1, 1, m, n]) over it; r = numerator / v

Exact: sums of at most m·n ones are whole numbers, which float32 and TF32 hold. A map takes 6 nodes instead of about
40; its convolution has one channel. Where a window may lie outside the image entirely, r = Where(v = 0, 0, …): with a
dilation, or pads as large as the kernel.

Not when y is another tensor than that convolution's output, or height and width are fixed: the arithmetic is then
folded into a constant. Not for int8, which would quantize these convolutions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import RECTIFICATION_MAPS
from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, dialect_nodes, is_standard, label, open_graph, producer
from rectexport.exporter.passes.rectification import axes

NAME = "rectify_ones"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Write every RectificationMap of a convolution's output."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in dialect_nodes(graph, *RECTIFICATION_MAPS.values()):
        plane = node.inputs[0].shape[2:] if node.inputs[0].shape is not None else [None]
        if all(isinstance(size, int) for size in plane):
            record.refuse(label(node), "height and width are fixed: the map is a constant")
            continue
        if not _same_window(node):
            record.refuse(label(node), "its second input is not the output of a convolution over this window")
            continue
        record.fire(label(node))
        _write(graph, node)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _same_window(node: gs.Node) -> bool:
    conv = producer(node.inputs[1])
    if conv is None or not is_standard(conv, "Conv") or conv.inputs[0] is not node.inputs[0]:
        return False
    if conv.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET"):
        return False
    weight = conv.inputs[1].shape
    kernel = conv.attrs.get("kernel_shape") or (list(weight[2:]) if weight is not None else None)
    own = [kernel, *(conv.attrs.get(name, [value] * sides * axes(node)) for name, value, sides in _DEFAULTS)]
    return own == [node.attrs["kernel_shape"], *(node.attrs[name] for name, _, _ in _DEFAULTS)]


#: Attributes of a window, the value of each where it is left out, and how many values an axis has.
_DEFAULTS = (("strides", 1, 1), ("pads", 0, 2), ("dilations", 1, 1))


def _write(graph: gs.Graph, node: gs.Node) -> None:
    x, r, attrs, count = node.inputs[0], node.outputs[0], node.attrs, axes(node)
    node.outputs.clear()

    def add(operator: str, part: str, inputs: list[gs.Tensor], dtype: Any, shape: Any = None, **given: Any) -> Any:
        out = gs.Variable(f"{r.name}.{part}", dtype, shape)
        graph.nodes.append(gs.Node(operator, out.name, given, inputs, [out]))
        return out

    plane = [1, 1, *(x.shape[2:] if x.shape is not None else [None] * count)]
    sizes = add("Shape", "sizes", [x], np.int64, [count], start=2, end=2 + count)
    shape = add(
        "Concat", "shape", [gs.Constant(f"{r.name}.one", np.ones(2, np.int64)), sizes], np.int64, [2 + count], axis=0
    )
    filled = gs.Constant(f"{r.name}.fill", np.ones(1, np.float32))
    ones = add("ConstantOfShape", "ones", [shape], np.float32, plane, value=filled)
    kernel = gs.Constant(f"{r.name}.kernel", np.ones((1, 1, *attrs["kernel_shape"]), np.float32))
    window = {name: attrs[name] for name in ("kernel_shape", "strides", "pads", "dilations")}
    taps = add("Conv", "taps", [ones, kernel], np.float32, r.shape, **window)
    total = gs.Constant(f"{r.name}.total", np.array(attrs["numerator"], np.float32))
    if not _may_be_empty(attrs):
        graph.nodes.append(gs.Node("Div", r.name, {}, [total, taps], [r]))
        return
    zero, one = (
        gs.Constant(f"{r.name}.{name}", np.array(value, np.float32)) for name, value in (("zero", 0), ("least", 1))
    )
    empty = add("Equal", "empty", [taps, zero], np.bool_, r.shape)
    divisor = add("Max", "divisor", [taps, one], np.float32, r.shape)
    ratio = add("Div", "ratio", [total, divisor], np.float32, r.shape)
    graph.nodes.append(gs.Node("Where", r.name, {}, [empty, zero, ratio], [r]))


def _may_be_empty(attrs: dict[str, Any]) -> bool:
    """Whether a window may have no tap inside an image of any size.

    Without dilation, a window is an interval of m pixels: with pads below m it reaches the image from either side.
    """
    count = len(attrs["kernel_shape"])
    widest = map(max, attrs["pads"][:count], attrs["pads"][count:])
    return max(attrs["dilations"]) > 1 or any(
        pad >= kernel for pad, kernel in zip(widest, attrs["kernel_shape"], strict=True)
    )
