"""Take the bias out of what Rectify reads: the other passes know no Rectify that is biased.

Given   z = Rectify(y, x, b), biased
Result  z = Rectify(y - b, x, b); the subtraction goes into the convolution that makes y, where nothing else reads y

By definition. Such nodes come from files that `--rectify plugin` wrote.

Not when no node is biased.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import RECTIFIES
from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, constant, dialect_nodes, label, open_graph, sole_consumer
from rectexport.exporter.passes.lowering.machinery.convolution import detach, emit, read
from rectexport.exporter.passes.rectification import axes

NAME = "rectify_unbiased"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every Rectify node that is biased."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(dialect_nodes(graph, *RECTIFIES.values())):
        if node.attrs.pop("biased", 0):
            node.inputs[0] = _without_bias(graph, node)
            record.fire(label(node))
    return (close_graph(graph, model) if record.fired else model), record.result()


def _without_bias(graph: gs.Graph, node: gs.Node) -> gs.Tensor:
    y, shift = node.inputs[0], node.inputs[2]
    name = f"{node.outputs[0].name}.unbiased"
    found = gs.Variable(name, y.dtype, y.shape)
    before = y.inputs[0] if y.inputs and sole_consumer(graph, y) is node else None
    conv, bias = read(before), constant(shift)
    if before is not None and bias is not None and not isinstance(conv, str):
        own = np.zeros_like(bias) if conv.bias is None else conv.bias
        x = before.inputs[0]
        detach(graph, before)
        emit(graph, name, replace(conv, bias=own - bias), x, found)
        return found
    column = gs.Variable(f"{name}.bias", shift.dtype)
    shape = gs.Constant(f"{name}.shape", np.array([1, -1, *[1] * axes(node)], np.int64))
    graph.nodes.append(gs.Node("Reshape", f"{name}.reshape", {}, [shift, shape], [column]))
    graph.nodes.append(gs.Node("Sub", name, {}, [y, column], [found]))
    return found
