"""Sizes of tensors in a form that can be compared: numbers, names, or "axis a of tensor t"."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.values import Values

#: A number, a dimension's name, or (tensor's name, axis) for a dimension that has none.
Size = int | str | tuple[str, int]

#: Operators that keep the shape of their first input.
_SAME_SHAPE = {"Identity", "Cast", "Relu", "Neg", "Abs", "LeakyRelu", "Sigmoid", "Tanh"}
_SAME_ENTRIES = {"Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten"}


def size(values: Values, tensor: gs.Tensor, axis: int) -> Size:
    """One dimension of a tensor, traced back through operators that keep it."""
    while True:
        dimension = tensor.shape[axis] if tensor.shape is not None and axis < len(tensor.shape) else None
        if isinstance(dimension, int) and dimension >= 0:
            return dimension
        if _is_first_slice(values, tensor, axis):
            return 1
        source = _source(values, tensor, axis)
        if source is None:
            return dimension if isinstance(dimension, str) and dimension else (tensor.name, axis)
        tensor = source


def _source(values: Values, tensor: gs.Tensor, axis: int) -> gs.Tensor | None:
    """A tensor of equal size along `axis`, if the producer keeps that size."""
    node = producer(tensor)
    if node is None:
        return None
    if node.op in _SAME_SHAPE:
        return node.inputs[0]
    if node.op == "Slice" and len(node.inputs) > 3:
        axes = values.of(node.inputs[3])
        if axes is not None and all(0 <= entry != axis for entry in axes):
            return node.inputs[0]
    return None


def _is_first_slice(values: Values, tensor: gs.Tensor, axis: int) -> bool:
    """Whether the tensor is t[0:1] along `axis`, as torch writes x[:1]. No axis is empty."""
    node = producer(tensor, "Slice")
    if node is None or len(node.inputs) < 4:
        return False
    picks = [values.of(entry) for entry in node.inputs[1:4]]
    return [None if pick is None else pick.tolist() for pick in picks] == [[0], [1], [axis]]


def entries(values: Values, tensor: gs.Tensor) -> list[Size] | None:
    """The entries of a shape that the graph computes; None when it is computed in another way than those below."""
    known = values.of(tensor)
    if known is not None:
        return [int(value) for value in known.reshape(-1)]
    node = producer(tensor)
    if node is None:
        return None
    if node.op == "Shape":
        return _shape(values, node)
    if node.op == "Concat":
        parts = [entries(values, entry) for entry in node.inputs]
        return None if any(part is None for part in parts) else [entry for part in parts for entry in part or ()]
    if node.op in _SAME_ENTRIES or (node.op == "Cast" and int(node.attrs["to"]) == TensorProto.INT64):
        return entries(values, node.inputs[0])
    if node.op in ("Gather", "Slice"):
        return _selected(values, node)
    return None


def _shape(values: Values, node: gs.Node) -> list[Size] | None:
    tensor = node.inputs[0]
    if tensor.shape is None:
        return None
    axes = range(len(tensor.shape))[node.attrs.get("start", 0) : node.attrs.get("end")]
    return [size(values, tensor, axis) for axis in axes]


def _selected(values: Values, node: gs.Node) -> list[Size] | None:
    whole = entries(values, node.inputs[0])
    picks: list[Any] = [values.of(entry) for entry in node.inputs[1:] if entry.name]
    if whole is None or any(pick is None for pick in picks):
        return None
    if node.op == "Gather":
        return [whole[int(index)] for index in picks[0].reshape(-1)]
    step = int(picks[3].item()) if len(picks) > 3 else 1
    return whole[int(picks[0].item()) : int(picks[1].item()) : step]
