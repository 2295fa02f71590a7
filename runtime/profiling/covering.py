"""Ties the layers of an engine to ONNX nodes.

Given    layers with the names that the engine reports, and the graph of the file that it loaded
Result   for each layer the nodes whose work it does
Not when the engine reports a name that the graph does not have: the layer is tied to no node

An engine names a fused layer after one node of it, or after all of them. A layer that is called a convolution but is
named after a node that is none has absorbed the nodes before that one, back to the convolution. What no layer has is
counted to the layer that made its input, as an activation behind a convolution, or an Identity that was removed.
"""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.runtime.profiling.origins import Graph
from rectexport.runtime.profiling.sampled import PREVIOUS, EngineLayer


def cover(graph: Graph, layers: Sequence[EngineLayer]) -> list[list[int]]:
    """Indices of nodes for each layer, in graph order; empty for reorders."""
    found = [[] if layer.reorder else _anchored(graph, layer) for layer in layers]
    owner = {node: place for place, nodes in reversed(list(enumerate(found))) for node in nodes}
    for place, layer in enumerate(layers):
        for node in _absorbed(graph, layer, found[place], owner):
            owner[node] = place
            found[place].append(node)
    _take_rest(graph, found, owner)
    return [sorted(nodes) for nodes in found]


def neighbour(layers: Sequence[EngineLayer], place: int) -> int | None:
    """The layer that a reorder belongs to; None where there is no other layer on that side."""
    back = layers[place].reorder == PREVIOUS
    order = range(place - 1, -1, -1) if back else range(place + 1, len(layers))
    return next((other for other in order if not layers[other].reorder), None)


def _anchored(graph: Graph, layer: EngineLayer) -> list[int]:
    return list(dict.fromkeys(graph.by_name[name] for name in layer.anchors if name in graph.by_name))


def _absorbed(graph: Graph, layer: EngineLayer, nodes: Sequence[int], owner: dict[int, int]) -> list[int]:
    """Nodes before the one that the layer is named after, back to the operator that the layer is called."""
    if len(nodes) != 1 or graph.nodes[nodes[0]].op == layer.kind:
        return []
    absorbed: list[int] = []
    pending = list(graph.nodes[nodes[0]].inputs)
    while pending:
        node = graph.makers.get(pending.pop())
        if node is None or node in owner or node in absorbed:
            continue
        absorbed.append(node)
        if graph.nodes[node].op != layer.kind:
            pending.extend(graph.nodes[node].inputs)
    return absorbed if any(graph.nodes[node].op == layer.kind for node in absorbed) else []


def _take_rest(graph: Graph, found: list[list[int]], owner: dict[int, int]) -> None:
    """Count nodes of no layer to the layer before them, else to the one after them."""
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    for index, node in enumerate(graph.nodes):
        makers = [graph.makers[name] for name in node.inputs if name in graph.makers]
        _take(index, makers, found, owner)
    for index, node in reversed(list(enumerate(graph.nodes))):
        _take(index, [reader for name in node.outputs for reader in readers.get(name, ())], found, owner)


def _take(node: int, beside: Sequence[int], found: list[list[int]], owner: dict[int, int]) -> None:
    place = next((owner[other] for other in beside if other in owner), None)
    if node not in owner and place is not None:
        owner[node] = place
        found[place].append(node)
