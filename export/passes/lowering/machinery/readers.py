"""Find the readers of a tensor of two channel halves [p, n], and whether all are linear.

A linear reader is a convolution without groups, a Gemm or a MatMul by a constant: its weights split into W_p and
W_n along the input channels, and it computes W_p·p + W_n·n. Average pools, Flatten and reshapes to [N, features]
may stand in between: they are linear, channel by channel, and keep the halves contiguous. Zero padding is linear
too. A max pool, a BatchNorm, a grouped convolution or a graph output ends the search with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import constant, is_output, is_rectify, is_standard, label
from rectexport.exporter.passes.lowering.machinery.convolution import Values

_POOLS = ("AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class Reader:
    """A node whose input 1 holds constant weights with both halves along `axis`."""

    node: gs.Node
    axis: int

    @property
    def output_axis(self) -> int:
        """The axis of the weights that counts outputs."""
        return 1 - self.axis

    def halves(self) -> tuple[Values, Values]:
        """W_p and W_n."""
        weight = constant(self.node.inputs[1])
        assert weight is not None
        first, second = np.split(weight, 2, axis=self.axis)
        return first, second

    def rewrite(self, *parts: Values) -> None:
        """Give the node weights made of these parts along the input channels."""
        name = f"{self.node.outputs[0].name}.weight.halves"
        self.node.inputs[1] = gs.Constant(name, np.ascontiguousarray(np.concatenate(parts, axis=self.axis)))


@dataclass
class Readers:
    """All readers of a tensor, and the nodes in between whose outputs change with it."""

    linear: list[Reader] = field(default_factory=list)
    between: list[gs.Node] = field(default_factory=list)


def linear_readers(graph: gs.Graph, tensor: gs.Tensor) -> Readers | str:
    """Every reader of `tensor` if all are linear, else the reason why one is not."""
    found = Readers()
    for reason in _walk(graph, tensor, found):
        return reason
    return found if found.linear else f"nothing reads {tensor.name}"


def _walk(graph: gs.Graph, tensor: gs.Tensor, found: Readers) -> Iterator[str]:
    if is_output(graph, tensor):
        yield f"{tensor.name} is an output of the graph"
    for node in {id(entry): entry for entry in tensor.outputs}.values():
        if is_rectify(node) and node.inputs[1] is tensor and node.inputs[0] is not tensor:
            continue  # it reads the size alone
        axis = _weight_axis(node, tensor)
        if isinstance(axis, int):
            found.linear.append(Reader(node, axis))
        elif _keeps_halves(node, tensor):
            found.between.append(node)
            yield from _walk(graph, node.outputs[0], found)
        else:
            yield axis or f"{node.op} {label(node)} is not linear in it"


def _weight_axis(node: gs.Node, tensor: gs.Tensor) -> int | str | None:
    """The axis of the weights that meets the tensor's channels, or the reason why there is none."""
    if not is_standard(node, "Conv", "Gemm", "MatMul") or node.inputs[0] is not tensor or node.inputs[1] is tensor:
        return None
    if sum(entry is tensor for entry in node.inputs) > 1:
        return f"{label(node)} reads it twice"
    weight = constant(node.inputs[1])
    if weight is None:
        return f"the weights of {label(node)} are not constants"
    if node.op == "Conv":
        groups = node.attrs.get("group", 1)
        return 1 if groups == 1 else f"{label(node)} has {groups} groups"
    if node.op == "Gemm" and not node.attrs.get("transA", 0):
        return 1 if node.attrs.get("transB", 0) else 0
    return 0 if node.op == "MatMul" and weight.ndim == 2 and _rank(tensor) == 2 else None


def _keeps_halves(node: gs.Node, tensor: gs.Tensor) -> bool:
    if not is_standard(node):
        return False
    if node.op in _POOLS:
        return True
    if node.op == "Flatten":
        return bool(node.attrs.get("axis", 1) == 1)
    if node.op == "ReduceMean" and _rank(tensor) == 4:
        axes = node.attrs.get("axes") if len(node.inputs) < 2 else constant(node.inputs[1])
        return axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]
    return node.op == "Reshape" and node.inputs[0] is tensor and _flattens(node, tensor)


def _flattens(node: gs.Node, tensor: gs.Tensor) -> bool:
    """A reshape of [N, C, …] to [N, features]."""
    target, shape = constant(node.inputs[1]), tensor.shape
    if target is None or len(target) != 2 or shape is None or len(shape) < 2:
        return False
    known = [size for size in shape[1:] if isinstance(size, int)]
    features = int(np.prod(known)) if len(known) == len(shape) - 1 else None
    batch = int(target[0]) == 0 or target[0] == shape[0]
    return (batch and int(target[1]) == -1) or (features is not None and int(target[1]) == features)


def _rank(tensor: gs.Tensor) -> int | None:
    return None if tensor.shape is None else len(tensor.shape)
