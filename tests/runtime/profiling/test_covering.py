"""Tying layers of engines to ONNX nodes, in the cases that the engines' names make."""

from __future__ import annotations

from rectexport.runtime.profiling.covering import cover, neighbour
from rectexport.runtime.profiling.origins import Graph, Node
from rectexport.runtime.profiling.sampled import NEXT, PREVIOUS, EngineLayer


def layer(name: str, kind: str = "Conv", *anchors: str, reorder: str = "") -> EngineLayer:
    return EngineLayer(name, kind, anchors or (name,), 1e-3, reorder)


#: x -> a (Conv) -> b (Mul) -> c (Relu) -> d (Conv) -> e (Identity) -> f (Softmax)
GRAPH = Graph(
    tuple(
        Node(name, op, (before,), (f"t_{name}",))
        for name, op, before in (
            ("a", "Conv", "x"),
            ("b", "Mul", "t_a"),
            ("c", "Relu", "t_b"),
            ("d", "Conv", "t_c"),
            ("e", "Identity", "t_d"),
            ("f", "Softmax", "t_e"),
        )
    )
)


def names(layers: list[EngineLayer]) -> list[str]:
    return ["".join(GRAPH.nodes[index].name for index in nodes) for nodes in cover(GRAPH, layers)]


def test_a_layer_named_after_its_last_node_takes_those_back_to_its_operator() -> None:
    assert names([layer("t_c"), layer("d"), layer("f", "Softmax")]) == ["abc", "de", "f"]


def test_a_layer_named_after_its_first_node_takes_what_follows() -> None:
    assert names([layer("a"), layer("d"), layer("f", "Softmax")]) == ["abc", "de", "f"]


def test_a_layer_with_all_its_names_takes_no_more() -> None:
    assert names([layer("c", "Convolution", "a", "b", "c"), layer("d", "Convolution"), layer("f", "Softmax")]) == [
        "abc",
        "de",
        "f",
    ]


def test_a_layer_with_a_foreign_name_is_tied_to_nothing() -> None:
    assert names([layer("a"), layer("Constant_17", "Const"), layer("d"), layer("f", "Softmax")])[1] == ""


def test_a_node_that_two_layers_name_is_in_both() -> None:
    assert names([layer("part 1", "Conv", "a"), layer("part 2", "Conv", "a"), layer("d"), layer("f", "Softmax")]) == [
        "abc",
        "a",
        "de",
        "f",
    ]


def test_reorders_have_no_nodes_and_belong_to_the_layer_beside_them() -> None:
    layers = [layer("in", "ReorderInput", reorder=NEXT), layer("a"), layer("out", "ReorderOutput", reorder=PREVIOUS)]
    assert names(layers) == ["", "abcdef", ""]
    assert neighbour(layers, 0) == 1 and neighbour(layers, 2) == 1
    assert neighbour([layer("out", reorder=PREVIOUS)], 0) is None
