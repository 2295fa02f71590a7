"""Finds what can be quantized: convolutions and matrix products with constant weights, and what follows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import constant, is_standard, label, sole_consumer
from rectexport.exporter.passes.masks.counts import COUNT_PREFIX
from rectexport.exporter.passes.rectification import SCALE_PREFIX

#: Operators whose output holds values of their input and no others: both have one scale.
SAME_VALUES = ("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "DepthToSpace")


@dataclass
class Layer:
    """A Conv, Gemm or MatMul with a constant weight.

    weight, bias   their values; the bias is None where there is none
    axis           of the weight, along which outputs lie
    scale          the Mul by rectification factors behind it, shift the addition of a constant behind that
    relu           the Relu or Clip behind all of these
    """

    node: gs.Node
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    axis: int
    scale: gs.Node | None = None
    shift: gs.Node | None = None
    relu: gs.Node | None = None

    @property
    def name(self) -> str:
        """The name that logs and patterns use: the node's."""
        return label(self.node)

    @property
    def x(self) -> gs.Tensor:
        """The activation that it reads."""
        return self.node.inputs[0]

    @property
    def y(self) -> gs.Tensor:
        """What the node itself makes, with a ReLU that engines fuse into it."""
        return self.out if self.scale is None else self.node.outputs[0]

    @property
    def out(self) -> gs.Tensor:
        """What leaves the layer."""
        last = next(node for node in (self.relu, self.shift, self.scale, self.node) if node is not None)
        return last.outputs[0]

    @property
    def nodes(self) -> list[gs.Node]:
        """Its nodes, in order."""
        return [node for node in (self.node, self.scale, self.shift, self.relu) if node is not None]

    @property
    def convolution(self) -> bool:
        """Whether it is a convolution."""
        return bool(self.node.op == "Conv")

    @property
    def copies(self) -> bool:
        """Whether it moves values and computes none: a depthwise convolution with a single 1 in each filter."""
        if not self.convolution or self.bias is not None or self.weight.shape[1] != 1 or self.scale is not None:
            return False
        filters = self.weight.reshape(len(self.weight), -1)
        return bool(((filters != 0).sum(axis=1) == 1).all() and (filters.sum(axis=1) == 1).all())

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiplications for one row, where its output has this shape."""
        plane = int(np.prod(shape[2:])) if self.convolution else int(np.prod(shape[1:-1]))
        return int(self.weight.size) * max(plane, 1)


def find_layers(graph: gs.Graph) -> tuple[list[Layer], dict[str, str]]:
    """The layers in order, and the nodes that stay in float with the reason for each."""
    found, refused = [], {}
    for node in graph.nodes:
        if not is_standard(node, "Conv", "Gemm", "MatMul", "ConvTranspose"):
            continue
        layer = _layer(node)
        if isinstance(layer, str):
            refused[label(node)] = layer
        else:
            _follow(graph, layer)
            found.append(layer)
    return found, refused


def _layer(node: gs.Node) -> Layer | str:
    """The layer that a node is, or the reason why it is none."""
    weight = constant(node.inputs[1])
    if weight is None:
        return "its weight is computed by the graph"
    if weight.dtype != np.float32:
        return f"its weight is {weight.dtype}"
    if constant(node.inputs[0]) is not None:
        return "its input is a constant"
    given = len(node.inputs) > 2 and node.inputs[2].name != ""
    bias = constant(node.inputs[2]) if given else None
    if given and bias is None:
        return "its bias is computed by the graph"
    if node.op == "Conv":
        if node.name.startswith(COUNT_PREFIX):
            return "it counts known values, which must stay whole numbers"
        return Layer(node, weight, bias, 0) if 3 <= weight.ndim <= 5 else "its kernel has over three axes"
    if node.op == "Gemm":
        return _gemm(node, weight, bias)
    if node.op == "MatMul":
        return Layer(node, weight, None, 1) if weight.ndim == 2 else "its weight is no matrix"
    return "no engine of the CPU has a transposed convolution in int8"


def _gemm(node: gs.Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> Layer | str:
    plain = node.attrs.get("alpha", 1.0) == 1.0 and node.attrs.get("beta", 1.0) == 1.0
    if not plain or node.attrs.get("transA", 0):
        return "it scales or transposes its input"
    axis = 0 if node.attrs.get("transB", 0) else 1
    if bias is not None and bias.size != weight.shape[axis]:
        return "its bias is no vector of its outputs"
    return Layer(node, weight, bias, axis)


def _follow(graph: gs.Graph, layer: Layer) -> None:
    """Find the rectification and the activation behind a convolution."""
    if not layer.convolution:
        return
    following = sole_consumer(graph, layer.node.outputs[0])
    if following is not None and is_standard(following, "Mul") and following.name.startswith(SCALE_PREFIX):
        layer.scale = following
        following = sole_consumer(graph, following.outputs[0])
        if following is not None and is_standard(following, "Add") and _per_channel(following) is not None:
            layer.shift = following
            following = sole_consumer(graph, following.outputs[0])
    if following is not None and is_standard(following, "Relu", "Clip") and _clips_at_zero(following):
        layer.relu = following


def _per_channel(node: gs.Node) -> NDArray[Any] | None:
    """The constant [1, C, 1, …] that an Add adds, as [C]."""
    for tensor in node.inputs:
        value = constant(tensor)
        if value is not None and 3 <= value.ndim <= 5 and value.size == value.shape[1]:
            return value.reshape(-1)
    return None


def shift_of(layer: Layer) -> NDArray[Any] | None:
    """What is added behind the rectification, [C]; None where nothing is."""
    return None if layer.shift is None else _per_channel(layer.shift)


def factor_of(layer: Layer) -> NDArray[Any] | None:
    """The rectification factors [1, 1 or C, H, W]; None where they are computed from the shapes or there are none."""
    if layer.scale is None:
        return None
    values = (constant(tensor) for tensor in layer.scale.inputs)
    return next((value for value in values if value is not None), None)


def _clips_at_zero(node: gs.Node) -> bool:
    if node.op == "Relu":
        return True
    low = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1].name else None
    return low is not None and float(low) == 0


def tensors_between(graph: gs.Graph) -> Iterator[tuple[gs.Tensor, gs.Tensor]]:
    """(input, output) of every node whose output has the values of its input."""
    for node in graph.nodes:
        if is_standard(node, *SAME_VALUES) and node.inputs:
            yield node.inputs[0], node.outputs[0]
