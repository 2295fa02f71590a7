"""Names of a model's tensors: those in use anywhere, those that a branch or a loop body reads, and unused ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from onnx import GraphProto, NodeProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The branches or the body of a node, not those nested in them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def read_from_outside(node: NodeProto) -> list[str]:
    """Names that the subgraphs of a node read from the graph around it, each once, in order of their first use."""
    return list(dict.fromkeys(name for inner in subgraphs(node) for name in _free(inner)))


def used_inside(node: NodeProto) -> set[str]:
    """Every name that the subgraphs of a node use, nested ones too."""
    return {name for inner in subgraphs(node) for name in used_names(inner)}


def used_names(graph: GraphProto) -> set[str]:
    """Every name of a tensor in a graph and in the subgraphs of its nodes."""
    names = {*_given(graph), *(value.name for value in (*graph.output, *graph.value_info))}
    for node in graph.node:
        names.update((*node.input, *node.output), used_inside(node))
    return names


def unused(name: str, taken: Collection[str]) -> str:
    """The name, with underscores added while it is taken."""
    while name in taken:
        name += "_"
    return name


def _given(graph: GraphProto) -> set[str]:
    """Names that a graph has before its first node runs."""
    stored = (entry.name for entry in graph.initializer)
    sparse = (entry.values.name for entry in graph.sparse_initializer)
    return {*(value.name for value in graph.input), *stored, *sparse}


def _free(graph: GraphProto) -> Iterator[str]:
    known = _given(graph)
    for node in graph.node:
        yield from (name for name in (*node.input, *read_from_outside(node)) if name and name not in known)
        known.update(node.output)
    yield from (value.name for value in graph.output if value.name not in known)
