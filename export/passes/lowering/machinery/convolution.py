"""Read a Conv node as plain values, and make one from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import constant, is_standard
from rectexport.exporter.passes.lowering.machinery.form import Shape

Values = NDArray[Any]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Convolution:
    """Constants and attributes of a two-dimensional convolution.

    weight [O, C / groups, m, n], bias [O] or None; pads in ONNX's order (top, left, bottom, right).
    """

    weight: Values
    bias: Values | None
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1

    @property
    def channels(self) -> int:
        """Input channels."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.weight.shape[0])

    @property
    def kernel(self) -> Pair:
        """Rows and columns of the kernel."""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is 1×1 with neither stride nor padding: each pixel depends on the same pixel alone."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.pads)


def read(node: gs.Node | None) -> Convolution | str:
    """The node's convolution, or the reason why it cannot be rewritten."""
    if node is None or not is_standard(node, "Conv"):
        return "no convolution reads it, or something else reads it too"
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "the convolution's pads depend on its input's size (auto_pad)"
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and bool(node.inputs[2].name)
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or (has_bias and bias is None):
        return "the convolution's weights are not constants"
    if weight.ndim != 4:
        return "the convolution is not two-dimensional"
    return Convolution(
        weight,
        bias,
        _pair(node.attrs.get("strides", (1, 1))),
        tuple(node.attrs.get("pads", (0, 0, 0, 0))),
        _pair(node.attrs.get("dilations", (1, 1))),
        int(node.attrs.get("group", 1)),
    )


def emit(graph: gs.Graph, name: str, conv: Convolution, x: gs.Tensor, y: gs.Tensor) -> gs.Node:
    """Add a Conv node that reads x [N, C, H, W] and writes y. Its constants carry `name`, which must be new."""
    attributes = {
        "kernel_shape": list(conv.kernel),
        "strides": list(conv.strides),
        "pads": list(conv.pads),
        "dilations": list(conv.dilations),
        "group": conv.groups,
    }
    inputs = [x, gs.Constant(f"{name}.weight", np.ascontiguousarray(conv.weight))]
    if conv.bias is not None:
        inputs.append(gs.Constant(f"{name}.bias", np.ascontiguousarray(conv.bias)))
    node = gs.Node("Conv", name, attributes, inputs, [y])
    graph.nodes.append(node)
    return node


def detach(graph: gs.Graph, *nodes: gs.Node) -> None:
    """Remove nodes and their edges from the graph."""
    gone = {id(node) for node in nodes}
    graph.nodes[:] = [node for node in graph.nodes if id(node) not in gone]
    for node in nodes:
        node.inputs.clear()
        node.outputs.clear()


def shape_of(conv: Convolution, x: gs.Tensor) -> Shape:
    """The shape of a convolution that reads x [N, C, H, W], as far as its cost depends on it."""
    sizes = list(x.shape) if x.shape is not None and len(x.shape) == 4 else [None] * 4
    batch, _, height, width = (size if isinstance(size, int) else 0 for size in sizes)
    kernel, stride = max(conv.kernel), max(conv.strides)
    dtype = np.dtype(conv.weight.dtype).name
    return Shape(batch, conv.channels, conv.outputs, height, width, kernel, stride, conv.groups, dtype)


def add_pads(first: Iterable[int], second: Iterable[int]) -> Pads:
    """The sum of two paddings, side by side."""
    top, left, bottom, right = (int(a + b) for a, b in zip(first, second, strict=True))
    return top, left, bottom, right


def _pair(values: Any) -> Pair:
    first, second = values
    return int(first), int(second)
