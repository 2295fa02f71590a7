"""Leave only the border to the plugin: what costs the whole plane goes into the convolution before it.

Given   y = conv(x; W, c) ; z = Rectify(y, x, b), numerator q, kernel m × n
Result  y' = conv(x; s·W, s·c + b) ; z = Rectify(y', x, b), numerator m·n, biased ; s = q / (m·n)

        and where b = 0 and a ReLU alone reads z:
        y' = conv(x; s·W, s·c) ; v = relu(y') ; relu(z) = Rectify(v, x, 0), biased too

r = q/v = s·m·n/v, so that r is 1 inside, and z = r·(y' − b) + b is y' there: the plugin, which works in place, reads
and writes the border only. relu(r·t) = r·relu(t) because r ≥ 0: engines fuse convolution, bias and ReLU.

Only for rectify="plugin", and the last to change a Rectify node: other passes know none that is biased.

Not when another node reads y, or the convolution's weights or b are no constants. The plugin then covers the plane.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    constant,
    dialect_nodes,
    is_standard,
    label,
    open_graph,
    sole_consumer,
)
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read

NAME = "rectify_border"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every Rectify node behind a convolution of its own."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(dialect_nodes(graph, "Rectify")):
        name, y = label(node), node.inputs[0]
        before = y.inputs[0] if y.inputs and sole_consumer(graph, y) is node else None
        conv, bias = read(before), constant(node.inputs[2])
        if node.attrs.get("biased", 0):
            record.refuse(name, "the convolution has its bias already")
        elif isinstance(conv, str):
            record.refuse(name, conv)
        elif bias is None:
            record.refuse(name, "its bias is not a constant")
        else:
            assert before is not None
            _rewrite(graph, before, node, conv, bias)
            record.fire(name)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _rewrite(graph: gs.Graph, before: gs.Node, node: gs.Node, conv: Convolution, bias: Values) -> None:
    x, y, z, counted = before.inputs[0], node.inputs[0], node.outputs[0], node.inputs[1]
    relu = None if bias.any() else _relu(graph, node)
    taps = int(np.prod(node.attrs["kernel_shape"]))
    scale = node.attrs["numerator"] / taps
    attributes = {**node.attrs, "numerator": taps, "biased": 1}
    last = z if relu is None else relu.outputs[0]
    shift = node.inputs[2]
    detach(graph, before, node, *([] if relu is None else [relu]))
    current = gs.Variable(f"{last.name}.convolved", y.dtype, y.shape)
    emit(graph, current.name, _scaled(conv, scale, bias), x, current)
    if relu is not None:
        active = gs.Variable(f"{last.name}.active", y.dtype, y.shape)
        graph.nodes.append(gs.Node("Relu", active.name, {}, [current], [active]))
        current = active
    graph.nodes.append(gs.Node("Rectify", node.name, attributes, [current, counted, shift], [last], domain=DOMAIN))


def _relu(graph: gs.Graph, node: gs.Node) -> gs.Node | None:
    """The ReLU that alone reads a Rectify node."""
    found = sole_consumer(graph, node.outputs[0])
    return found if is_standard(found, "Relu") else None


def _scaled(conv: Convolution, scale: float, bias: Values) -> Convolution:
    """The convolution times `scale`, plus the bias."""
    dtype = conv.weight.dtype
    weight = (conv.weight.astype(np.float64) * scale).astype(dtype)
    own = np.zeros(conv.outputs) if conv.bias is None else conv.bias.astype(np.float64) * scale
    shifted = own + bias.astype(np.float64)
    return replace(conv, weight=weight, bias=shifted.astype(dtype) if shifted.any() else None)
