"""Write the mean over a plane as GlobalAveragePool, which every engine reads alike.

Given   y = ReduceMean(x, axes {2, 3}), x [N, C, H, W]
Result  y = GlobalAveragePool(x) with keepdims, Flatten(GlobalAveragePool(x)) without

Exact by definition. For TensorRT alone: given the ReduceMean of opset 18, whose axes are an input, TensorRT 8.6
averages over all of x, the batch included, and does not report it.

Not when the axes are others or no constant, or x is not known to have rank 4.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, constant, is_standard, label, open_graph

NAME = "global_mean"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every ReduceMean over height and width."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in [node for node in graph.nodes if is_standard(node, "ReduceMean")]:
        name, axes = label(node), _axes(node)
        x, y = node.inputs[0], node.outputs[0]
        if x.shape is None or len(x.shape) != 4 or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
            record.refuse(name, "it is not over height and width of a tensor that is known to have rank 4")
            continue
        kept = bool(node.attrs.get("keepdims", 1))
        node.outputs.clear()
        pooled = y if kept else gs.Variable(f"{y.name}.pooled", y.dtype, [*x.shape[:2], 1, 1])
        graph.nodes.append(gs.Node("GlobalAveragePool", name, {}, [x], [pooled]))
        if not kept:
            graph.nodes.append(gs.Node("Flatten", f"{name}.flatten", {"axis": 1}, [pooled], [y]))
        record.fire(name)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _axes(node: gs.Node) -> list[int] | None:
    if "axes" in node.attrs:
        return list(node.attrs["axes"])
    values = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if values is None else np.asarray(values).tolist()
