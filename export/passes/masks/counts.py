"""Write the counts of masked partial convolutions and what scales by them, each count once.

Given   u = MaskedCount(mask) ; z = MaskedRectify(y, u, b)
Result  u = Conv(mask, ones) ; r = Where(u > 0, numerator / u, 0) ; z = y * r + b * (u > 0), or + b if empty_bias

By definition. Layers that share a mask and a window share u, and those of equal numerator r; so do the next masks that
follow from a shared count, and what follows from them: equal nodes of the mask's branch are one. The addition is left
out where b is zero.

Not when there is no such node.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto, helper

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    constant,
    dialect_nodes,
    is_output,
    is_standard,
    label,
    open_graph,
    replace_reads,
)
from rectexport.exporter.passes.lowering.machinery.convolution import detach

NAME = "masked_counts"
#: Names of the convolutions that count begin with it.
COUNT_PREFIX = "masked_count"
_WINDOW = ("kernel_shape", "strides", "pads", "dilations")
#: Nodes of a mask's branch that are one node where their inputs and attributes are equal.
_SHARED = ("Add", "Cast", "Clip", "Concat", "Expand", "Identity", "Min", "Mul", "ReduceSum", "Resize", "Slice")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Write every MaskedCount and MaskedRectify node."""
    graph, record = open_graph(model), PassRecord(NAME)
    if not any(True for _ in dialect_nodes(graph, "MaskedCount", "MaskedRectify")):
        return model, record.result()
    _merge(graph)
    for node in dialect_nodes(graph, "MaskedCount"):
        record.fire(label(node))
        _count(graph, node)
    ratios: dict[tuple[str, int], gs.Tensor] = {}
    for node in dialect_nodes(graph, "MaskedRectify"):
        record.fire(label(node))
        _scale(graph, node, ratios)
    return close_graph(graph, model), record.result()


def _merge(graph: gs.Graph) -> None:
    """Let equal nodes of the masks' branches be one; nodes are in the order in which they run."""
    seen: dict[tuple[Any, ...], gs.Node] = {}
    branch: set[int] = set()
    for node in list(graph.nodes):
        counts = node.op == "MaskedCount" and not is_standard(node)
        if not counts and not (is_standard(node, *_SHARED) and any(id(entry) in branch for entry in node.inputs)):
            continue
        branch.update(map(id, node.outputs))
        attributes = tuple(sorted((name, str(value)) for name, value in node.attrs.items()))
        key = (node.op, attributes, *(_key(entry) for entry in node.inputs))
        first = seen.setdefault(key, node)
        if first is node or any(is_output(graph, tensor) for tensor in node.outputs):
            continue
        for mine, its in zip(node.outputs, first.outputs, strict=True):
            replace_reads(mine, its)
        detach(graph, node)


def _key(tensor: gs.Tensor) -> tuple[Any, ...]:
    value = constant(tensor) if tensor.name else None
    if value is not None and value.size <= 64:
        return (str(value.dtype), value.shape, value.tobytes())
    return (tensor.name,)


def _count(graph: gs.Graph, node: gs.Node) -> None:
    mask, u = node.inputs[0], node.outputs[0]
    attributes = {name: list(node.attrs[name]) for name in _WINDOW}
    node.outputs.clear()
    known = mask
    if mask.dtype != np.float32:
        known = gs.Variable(f"{u.name}.mask", np.float32, mask.shape)
        graph.nodes.append(gs.Node("Cast", known.name, {"to": TensorProto.FLOAT}, [mask], [known]))
    ones = gs.Constant(f"{u.name}.ones", np.ones((1, 1, *attributes["kernel_shape"]), np.float32))
    graph.nodes.append(gs.Node("Conv", f"{COUNT_PREFIX}.{u.name}", attributes, [known, ones], [u]))


def _scale(graph: gs.Graph, node: gs.Node, ratios: dict[tuple[str, int], gs.Tensor]) -> None:
    y, u, shift = node.inputs
    z, bias = node.outputs[0], constant(shift)
    dtype = np.dtype(y.dtype or np.float32)
    numerator = int(node.attrs["numerator"])
    node.outputs.clear()
    ratio = _like(graph, _ratio(graph, u, numerator, ratios), y, dtype)
    shifted = bias is None or bool(bias.any())
    scaled = gs.Variable(f"{z.name}.scaled", dtype, z.shape) if shifted else z
    graph.nodes.append(gs.Node("Mul", f"masked_scale.{z.name}", {}, [y, ratio], [scaled]))
    if not shifted:
        return
    column = [1, -1, *[1] * (_rank(u, y) - 2)]
    if bias is not None:
        added: gs.Tensor = gs.Constant(f"{z.name}.shift", bias.reshape(column))
    else:
        added = gs.Variable(f"{z.name}.shift", dtype)
        shape = gs.Constant(f"{z.name}.shift.shape", np.array(column, np.int64))
        graph.nodes.append(gs.Node("Reshape", added.name, {}, [shift, shape], [added]))
    if node.attrs["empty_bias"]:
        graph.nodes.append(gs.Node("Add", f"masked_shift.{z.name}", {}, [scaled, added], [z]))
        return
    known = _like(graph, _known(graph, u, ratios), y, dtype)
    masked = gs.Variable(f"{z.name}.shift.masked", dtype, z.shape)
    graph.nodes.append(gs.Node("Mul", masked.name, {}, [added, known], [masked]))
    graph.nodes.append(gs.Node("Add", f"masked_shift.{z.name}", {}, [scaled, masked], [z]))


def _rank(*tensors: gs.Tensor) -> int:
    """The rank of the first whose shape is known; that of images where none is."""
    return next((len(tensor.shape) for tensor in tensors if tensor.shape is not None), 4)


def _add(graph: gs.Graph, operator: str, name: str, inputs: list[gs.Tensor], like: gs.Tensor, dtype: Any) -> gs.Tensor:
    out = gs.Variable(name, dtype, like.shape)
    graph.nodes.append(gs.Node(operator, name, {}, inputs, [out]))
    return out


def _ratio(graph: gs.Graph, u: gs.Tensor, numerator: int, ratios: dict[tuple[str, int], gs.Tensor]) -> gs.Tensor:
    """numerator / u, and 0 where u is; once for each count and numerator."""
    key = (u.name, numerator)
    if key not in ratios:
        name = f"{u.name}.{numerator}"
        zero, one, total = (
            gs.Constant(f"{name}.{word}", np.array(value, np.float32))
            for word, value in (("zero", 0), ("one", 1), ("total", numerator))
        )
        covered = _add(graph, "Greater", f"{name}.covered", [u, zero], u, np.bool_)
        divisor = _add(graph, "Where", f"{name}.divisor", [covered, u, one], u, np.float32)
        quotient = _add(graph, "Div", f"{name}.quotient", [total, divisor], u, np.float32)
        ratios[key] = _add(graph, "Where", f"{name}.ratio", [covered, quotient, zero], u, np.float32)
    return ratios[key]


def _known(graph: gs.Graph, u: gs.Tensor, ratios: dict[tuple[str, int], gs.Tensor]) -> gs.Tensor:
    """1 where u is above 0; once for each count."""
    key = (u.name, 0)
    if key not in ratios:
        name = f"{u.name}.known"
        zero = gs.Constant(f"{name}.zero", np.array(0, np.float32))
        covered = _add(graph, "Greater", f"{name}.covered", [u, zero], u, np.bool_)
        ratios[key] = gs.Variable(name, np.float32, u.shape)
        graph.nodes.append(gs.Node("Cast", name, {"to": TensorProto.FLOAT}, [covered], [ratios[key]]))
    return ratios[key]


def _like(graph: gs.Graph, tensor: gs.Tensor, like: gs.Tensor, dtype: np.dtype[Any]) -> gs.Tensor:
    if dtype == np.float32:
        return tensor
    out = gs.Variable(f"{tensor.name}.{like.name}", dtype, tensor.shape)
    graph.nodes.append(gs.Node("Cast", out.name, {"to": helper.np_dtype_to_tensor_dtype(dtype)}, [tensor], [out]))
    return out
