"""Recognise planes filled with one number, which exporters write for torch.ones and torch.full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.sizes import Size, entries
from rectexport.exporter.passes.matching.values import Values

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class UniformPlane:
    """A tensor of one number, with its sizes."""

    value: float
    sizes: list[Size]


def uniform_plane(values: Values, tensor: gs.Tensor, rank: int = 4) -> UniformPlane | None:
    """The tensor as a uniform plane: a constant, Expand or ConstantOfShape; None for anything else."""
    constant = values.of(tensor)
    if constant is not None:
        if constant.ndim != rank or not constant.size or not np.all(constant == constant.flat[0]):
            return None
        return UniformPlane(float(constant.flat[0]), list(constant.shape))
    node = producer(tensor, "Expand", "ConstantOfShape", "Identity", "Cast")
    if node is None:
        return None
    if node.op == "Cast" and int(node.attrs["to"]) not in _FLOATS:
        return None
    if node.op in ("Identity", "Cast"):
        return uniform_plane(values, node.inputs[0], rank)
    sizes = entries(values, node.inputs[-1])
    fill = values.of(node.inputs[0]) if node.op == "Expand" else _fill(node)
    if sizes is None or len(sizes) != rank or fill is None or fill.size != 1:
        return None
    return UniformPlane(float(fill.reshape(-1)[0]), sizes)


def _fill(node: gs.Node) -> np.ndarray | None:
    value = node.attrs.get("value")
    if value is None:
        return np.zeros(1)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value.values if isinstance(value, gs.Constant) else value)
