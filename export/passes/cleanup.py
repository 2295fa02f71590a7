"""Remove no-op and unused nodes, make Constant nodes initializers, merge equal initializers.

Given   y = Identity(x)             Result  x wherever y was read
Given   y = Constant()              Result  an initializer y
Given   two equal initializers      Result  one

Not when
- an Identity joins an input of the graph to an output, or a Constant is an output: both names are the user's;
- a constant is larger than a mebibyte: such ones are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    constant,
    is_output,
    is_standard,
    label,
    open_graph,
    replace_reads,
    tensor_bytes,
)

NAME = "cleanup"
COMPARED_BYTES = 1 << 20


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Tidy the main graph."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(graph.nodes):
        name = label(node)
        if (is_standard(node, "Identity") and _bypass(graph, node)) or (
            is_standard(node, "Constant") and _initializer(graph, node)
        ):
            record.fire(name)
    for copy, kept in _equal_constants(graph):
        replace_reads(copy, kept)
        record.fire(f"{copy.name} = {kept.name}")
    nodes = list(graph.nodes)
    graph.cleanup(remove_unused_graph_inputs=False)
    kept_nodes = {id(node) for node in graph.nodes}
    for node in nodes:
        if id(node) not in kept_nodes and node.op not in ("Identity", "Constant"):
            record.fire(f"unused {node.name or node.op}")
    return (close_graph(graph, model) if record.fired else model), record.result()


def _bypass(graph: gs.Graph, node: gs.Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    if not is_output(graph, y):
        node.inputs.clear()
        replace_reads(y, x)
    elif not x.inputs or is_output(graph, x):
        return False
    else:
        node.inputs.clear()
        node.outputs.clear()
        replace_reads(x, y)
        producer = x.inputs[0]
        producer.outputs[[entry is x for entry in producer.outputs].index(True)] = y
    return True


def _initializer(graph: gs.Graph, node: gs.Node) -> bool:
    y = node.outputs[0]
    value = constant(y)
    if value is None or is_output(graph, y):
        return False
    node.outputs.clear()
    replace_reads(y, gs.Constant(y.name, value))
    return True


def _equal_constants(graph: gs.Graph) -> Iterator[tuple[gs.Constant, gs.Constant]]:
    seen: dict[tuple[object, ...], gs.Constant] = {}
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Constant) or is_output(graph, tensor) or not tensor.outputs:
            continue
        values = None if tensor_bytes(tensor) > COMPARED_BYTES else constant(tensor)
        if values is None:
            continue
        kept = seen.setdefault((values.dtype, values.shape, values.tobytes()), tensor)
        if kept is not tensor:
            yield tensor, kept
