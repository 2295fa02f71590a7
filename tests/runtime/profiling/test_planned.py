"""Activations that are needed at the same time, counted by hand."""

from __future__ import annotations

from dataclasses import replace

from rectexport.runtime.profiling.covering import cover
from rectexport.runtime.profiling.origins import Graph, Node
from rectexport.runtime.profiling.planned import planned_activations
from rectexport.runtime.profiling.sampled import NEXT, EngineLayer

#: x -> a -> b -> c -> add(c, a) -> d, with a's output kept for the addition.
NODES = (
    Node("a", "Conv", ("x",), ("ta",)),
    Node("b", "Conv", ("ta",), ("tb",)),
    Node("c", "Conv", ("tb",), ("tc",)),
    Node("add", "Add", ("tc", "ta"), ("ts",)),
    Node("d", "Conv", ("ts",), ("td",)),
)
GRAPH = Graph(NODES)


def layers(**sizes: int) -> list[EngineLayer]:
    return [EngineLayer(name, GRAPH.nodes[GRAPH.by_name[name]].op, (name,), 1.0, stored=sizes[name]) for name in sizes]


def planned(found: list[EngineLayer]) -> int | None:
    return planned_activations(GRAPH, cover(GRAPH, found), found)


def test_a_skip_connection_is_kept_until_the_addition() -> None:
    assert planned(layers(a=100, b=10, c=20, add=5, d=1)) == 130  # a, b and c
    assert planned(layers(a=1, b=10, c=20, add=5, d=1)) == 31


def test_a_fused_layer_stores_its_last_output_alone() -> None:
    fused = EngineLayer("c_add", "Conv", ("c", "add"), 1.0, stored=5)
    assert planned([*layers(a=100, b=10), fused, *layers(d=1)]) == 115


def test_an_output_that_nobody_reads_is_kept_to_the_end() -> None:
    graph = Graph((*NODES[:2], Node("side", "Relu", ("ta",), ("out",)), *NODES[2:]))
    found = [replace(layer, stored=1) for layer in layers(a=0, b=0, c=0, add=0, d=0)]
    found.insert(2, EngineLayer("side", "Relu", ("side",), 1.0, stored=50))
    assert planned_activations(graph, cover(graph, found), found) == 53  # a, b, c and the output


def test_unknown_sizes_give_no_figure_and_reorders_do_not_count() -> None:
    known = layers(a=100, b=10, c=20, add=5, d=1)
    reorder = EngineLayer("r", "ReorderInput", (), 1.0, NEXT, stored=9999)
    assert planned([reorder, *known]) == 130
    assert planned([replace(known[0], stored=None), *known[1:]]) is None
    assert planned([]) is None
