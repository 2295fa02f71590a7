"""Tensors that only repeat and leave out elements of another, as borders of values do."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import is_output, producer


def selection(graph: gs.Graph, tensor: gs.Tensor) -> tuple[gs.Tensor, list[gs.Node]] | None:
    """The one tensor whose elements a tensor selects by Slice and Concat, and the nodes between the two.

    None for a tensor that no such node makes, that joins several tensors, or of which a part on the way is read by
    another node or is an output of the graph.
    """
    nodes: dict[int, gs.Node] = {}
    sources: dict[int, gs.Tensor] = {}
    pending = [tensor]
    while pending:
        current = pending.pop()
        node = producer(current, "Slice", "Concat")
        if node is None:
            sources[id(current)] = current
        elif id(node) not in nodes:
            nodes[id(node)] = node
            pending.extend(node.inputs[:1] if node.op == "Slice" else node.inputs)
    if len(sources) != 1 or not nodes:
        return None
    for made in (node.outputs[0] for node in nodes.values()):
        inner = made is not tensor
        if is_output(graph, made) or (inner and any(id(reader) not in nodes for reader in made.outputs)):
            return None
    return next(iter(sources.values())), list(nodes.values())
