"""Compute r from the shapes, with standard operators, where H or W is dynamic.

Given   z = Rectify(y, x, b)
Result  r = RectificationMap(x, y) ; z = y * r + b

RectificationMap counts taps along each axis (two 1-D vectors from Shape) and divides once; it is shared by all
layers of equal window whose sizes have equal names, and inlined later. The cost is H_out*W_out divisions for
each geometry, not for each layer. No plugin is needed.

Not when rectify="fold", which leaves this pass out, nor, with "plugin", for the Rectify nodes of planes. Under "auto"
rectify_fold runs before it and takes every node whose H and W are static: a constant is cheaper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, helper

from rectexport.exporter.graph.dialect import DOMAIN, RECTIFICATION_MAPS
from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, dialect_nodes, label, open_graph
from rectexport.exporter.passes.inline import standard_rectifies
from rectexport.exporter.passes.rectification import WINDOW, apply_tail, axes, window

NAME = "rectify_graph"


def run(model: ModelProto, rectify: str = "auto") -> tuple[ModelProto, PassResult]:
    """Lower every Rectify node that is still there."""
    graph, record = open_graph(model), PassRecord(NAME)
    shared: dict[object, gs.Tensor] = {}
    for node in dialect_nodes(graph, *standard_rectifies(rectify)):
        record.fire(label(node))
        r = _map(graph, node, shared)
        occupied = None if node.attrs["empty_bias"] else _occupied(graph, node, r)
        apply_tail(graph, node, r, occupied)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _map(graph: gs.Graph, node: gs.Node, shared: dict[object, gs.Tensor]) -> gs.Tensor:
    y, x = node.inputs[0], node.inputs[1]
    dtype = np.dtype(y.dtype or np.float32)
    sizes = _named_sizes(x, axes(node))
    key = (sizes or x.name, window(node), dtype)
    if key not in shared:
        shared[key] = _add_map(graph, node, f"rectification.{len(shared)}", dtype)
    return shared[key]


def _named_sizes(x: gs.Tensor, count: int) -> tuple[Any, ...] | None:
    """H and W of x as names or numbers; tensors for which they are equal have equal planes. So along `count` axes."""
    if (
        x.shape is None
        or len(x.shape) != 2 + count
        or not all(isinstance(size, (int, str)) and size for size in x.shape[2:])
    ):
        return None
    return tuple(x.shape[2:])


def _add_map(graph: gs.Graph, node: gs.Node, name: str, dtype: np.dtype[Any]) -> gs.Tensor:
    y, x, count = node.inputs[0], node.inputs[1], axes(node)
    shape = [1, 1, *(y.shape[2:] if y.shape is not None and len(y.shape) == 2 + count else [None] * count)]
    r = gs.Variable(name, np.float32, shape)
    attrs = {key: node.attrs[key] for key in WINDOW}
    graph.nodes.append(gs.Node(RECTIFICATION_MAPS[count], name, attrs, [x, y], [r], domain=DOMAIN))
    if dtype == np.float32:
        return r
    return _cast(graph, r, f"{name}.{dtype.name}", dtype)


def _occupied(graph: gs.Graph, node: gs.Node, r: gs.Tensor) -> gs.Tensor:
    name = f"{node.outputs[0].name}.occupied"
    positive = gs.Variable(f"{name}.bool", np.bool_)
    graph.nodes.append(gs.Node("Cast", f"{name}.cast", {"to": 9}, [r], [positive]))
    return _cast(graph, positive, name, np.dtype(node.inputs[0].dtype or np.float32))


def _cast(graph: gs.Graph, tensor: gs.Tensor, name: str, dtype: np.dtype[Any]) -> gs.Tensor:
    """Cast, not CastLike, which TensorRT 8.6 lacks and raising does not read."""
    out = gs.Variable(name, dtype, tensor.shape)
    graph.nodes.append(gs.Node("Cast", name, {"to": helper.np_dtype_to_tensor_dtype(dtype)}, [tensor], [out]))
    return out
