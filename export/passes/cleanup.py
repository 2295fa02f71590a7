"""Nothing that does nothing: identities, unused nodes, constants as nodes, equal constants.

Given   y = Identity(x)             Result  x wherever y was read
Given   y = Constant()              Result  an initializer y
Given   two equal initializers      Result  one

Must not fire where an Identity joins a graph input or a constant to a graph output: both names are the user's.
Constants beyond a mebibyte are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, constant, label, open_graph

NAME = "cleanup"
COMPARED_BYTES = 1 << 20


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Tidy the main graph."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(graph.nodes):
        name = label(node)
        if (node.op == "Identity" and _bypass(graph, node)) or (node.op == "Constant" and _initializer(graph, node)):
            record.fire(name)
    for copy, kept in _equal_constants(graph):
        _replace(copy, kept)
        record.fire(f"{copy.name} = {kept.name}")
    nodes = list(graph.nodes)
    graph.cleanup(remove_unused_graph_inputs=False)
    kept_nodes = {id(node) for node in graph.nodes}
    for node in nodes:
        if id(node) not in kept_nodes and node.op not in ("Identity", "Constant"):
            record.fire(f"unused {node.name or node.op}")
    return (close_graph(graph, model) if record.fired else model), record.result()


def _bypass(graph: gs.Graph, node: gs.Node) -> bool:
    if node.domain not in (None, "", "ai.onnx"):
        return False
    x, y = node.inputs[0], node.outputs[0]
    if not _is_output(graph, y):
        node.inputs.clear()
        _replace(y, x)
    elif not x.inputs or _is_output(graph, x):
        return False
    else:
        node.inputs.clear()
        node.outputs.clear()
        _replace(x, y)
        producer = x.inputs[0]
        producer.outputs[[entry is x for entry in producer.outputs].index(True)] = y
    return True


def _initializer(graph: gs.Graph, node: gs.Node) -> bool:
    y = node.outputs[0]
    value = constant(y)
    if value is None or _is_output(graph, y):
        return False
    node.outputs.clear()
    _replace(y, gs.Constant(y.name, value))
    return True


def _is_output(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    return any(tensor is output for output in graph.outputs)


def _replace(old: gs.Tensor, new: gs.Tensor) -> None:
    """Let every node that reads `old` read `new`."""
    for consumer in list(old.outputs):
        for index, tensor in enumerate(consumer.inputs):
            if tensor is old:
                consumer.inputs[index] = new


def _equal_constants(graph: gs.Graph) -> Iterator[tuple[gs.Constant, gs.Constant]]:
    seen: dict[tuple[object, ...], gs.Constant] = {}
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Constant) or _is_output(graph, tensor) or not tensor.outputs:
            continue
        values = tensor.values
        if values.nbytes > COMPARED_BYTES:
            continue
        kept = seen.setdefault((values.dtype, values.shape, values.tobytes()), tensor)
        if kept is not tensor:
            yield tensor, kept
