"""Fold r into one constant where H and W are static, and so along one and three axes.

Given   z = Rectify(y, x, b), H and W of x and y known
Result  z = y * R + b, R [1, 1, H_out, W_out] a constant shared by all layers of equal geometry

R is kept whole: a separable factor of shape [1, 1, H, 1] or [1, 1, 1, W] would be cheaper to store, but a
simplifier may take it for a per-channel scale when W or H equals the number of channels. Where the plane itself is
one pixel high or wide, and as wide or high as there are channels, R is repeated over them.
Where R is 1 everywhere the multiply is left out, and so is an addition of zeros.

Not when H or W is dynamic: r then depends on the input (see rectify_graph); nor, with rectify="plugin", what the plugin
computes, which are the Rectify nodes of planes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, dialect_nodes, label, open_graph, static_sizes
from rectexport.exporter.passes.inline import standard_rectifies
from rectexport.exporter.passes.rectification import apply_tail, axes, factors, safe_factor, window

NAME = "rectify_fold"


def run(model: ModelProto, rectify: str = "auto") -> tuple[ModelProto, PassResult]:
    """Fold every Rectify node whose sizes are known."""
    graph, record = open_graph(model), PassRecord(NAME)
    shared: dict[object, gs.Constant] = {}
    for node in dialect_nodes(graph, *standard_rectifies(rectify)):
        size, out = (static_sizes(tensor, axes(node)) for tensor in (node.inputs[1], node.inputs[0]))
        name = label(node)
        if size is None or out is None:
            record.refuse(name, "H, W dynamic", Code.DYNAMIC_SIZE)
            continue
        record.fire(name)
        _fold(graph, node, size, out, shared)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _fold(
    graph: gs.Graph, node: gs.Node, size: Sequence[int], out: Sequence[int], shared: dict[object, gs.Constant]
) -> None:
    dtype = np.dtype(node.inputs[0].dtype or np.float32)
    y = node.inputs[0]
    r = safe_factor(factors(node, size, out).astype(dtype), None if y.shape is None else y.shape[1])
    key = (size, window(node), dtype, r.shape)
    scale = None if np.all(r == 1) else _share(shared, ("r", *key), r)
    masked = not node.attrs["empty_bias"] and bool(np.any(r == 0))
    occupied = _share(shared, ("occupied", *key), (r > 0).astype(dtype)) if masked else None
    apply_tail(graph, node, scale, occupied)


def _share(shared: dict[object, gs.Constant], key: tuple[object, ...], values: object) -> gs.Constant:
    if key not in shared:
        shared[key] = gs.Constant(f"rectification.{key[0]}.{len(shared)}", np.ascontiguousarray(values))
    return shared[key]
