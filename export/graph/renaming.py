"""Give a model's outputs other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import GraphProto, ModelProto, helper

from rectexport.exporter.graph.names import subgraphs, unused, used_names


def rename_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The model, changed in place, with these names for its outputs, in order; no input may have one of them.

    An inner tensor that has one of the names gets another one. An input or a weight that is an output, and a tensor
    that is two outputs, are given out through an Identity.
    """
    graph = model.graph
    fixed = {entry.name for entry in (*graph.input, *graph.initializer)}
    used = used_names(graph)
    new: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for value, name in zip(graph.output, names, strict=True):
        if value.name in fixed or value.name in new:
            copies.append((value.name, name))
        else:
            new[value.name] = name
        value.name = name
    for name in sorted(set(names) & used - new.keys()):
        new[name] = unused(f"{name}_inner", {*used, *names})
    _rename(graph, new)
    graph.node.extend(
        helper.make_node("Identity", [new.get(source, source)], [name], name=f"{name}_identity")
        for source, name in copies
    )
    return model


def _rename(graph: GraphProto, new: Mapping[str, str]) -> None:
    """Replace names in a graph and the subgraphs of its nodes."""
    named: list[Any] = [*graph.value_info, *graph.initializer, *(entry.values for entry in graph.sparse_initializer)]
    for entry in named:
        entry.name = new.get(entry.name, entry.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for inner in subgraphs(node):
            for value in (*inner.input, *inner.output):
                value.name = new.get(value.name, value.name)
            _rename(inner, new)
