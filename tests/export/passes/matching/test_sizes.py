"""Dimensions followed back to where they come from, and shapes that a graph computes."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.sizes import entries, size
from tests.export.passes.matching.scenes import parsed

INTS = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "four": np.array([4])}
SHAPE = "(float[N, 4, H, W] x) => (float[A, B, C, D] z, int64[K] s)"


def graph_of(body):
    return parsed(body, SHAPE, **INTS)


@pytest.mark.parametrize(
    ("body", "axis", "expected"),
    [
        ("z = Relu(x) s = Shape(x)", 1, 4),
        ("z = Relu(x) s = Shape(x)", 2, "H"),
        ("a = Cast<to = 1>(x) b = Neg(a) z = Identity(b) s = Shape(x)", 3, "W"),
        ("z = Slice(x, zero, one, zero) s = Shape(x)", 0, 1),
        ("z = Slice(x, zero, one, zero) s = Shape(x)", 2, "H"),
        ("z = Slice(x, zero, two, two) s = Shape(x)", 3, "W"),
    ],
)
def test_a_size_is_followed_back(body, axis, expected):
    graph = graph_of(body)
    for name in ("z", "a", "b"):
        if name in graph.scene.graph.tensors():
            graph[name].shape = None  # nothing noted: the producers must tell
    assert size(graph.values, graph["z"], axis) == expected


@pytest.mark.parametrize(
    "body", ["z = Slice(x, zero, two, two) s = Shape(x)", "z = MaxPool<kernel_shape=[2,2]>(x) s = Shape(x)"]
)
def test_a_size_that_changes_keeps_its_own_name(body):
    graph = graph_of(body)
    graph["z"].shape = None
    assert size(graph.values, graph["z"], 2) == ("z", 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = Shape(x)", ["N", 4, "H", "W"]),
        ("s = Shape<start = 2>(x)", ["H", "W"]),
        ("s = Shape<start = 1, end = -1>(x)", [4, "H"]),
        ("a = Shape(x) s = Gather(a, two)", ["H"]),
        ("a = Shape(x) s = Slice(a, one, four, zero, two)", [4, "W"]),
        ("a = Shape<start = 2>(x) b = Cast<to = 7>(a) s = Concat<axis = 0>(one, four, b)", [1, 4, "H", "W"]),
        ("s = Add(two, two)", [4]),
    ],
)
def test_a_computed_shape_is_read_entry_by_entry(body, expected):
    graph = graph_of(f"z = Relu(x) {body}")
    assert entries(graph.values, graph["s"]) == expected


@pytest.mark.parametrize(
    "body", ["a = Shape(x) s = Add(a, one)", "a = Shape(x) b = Add(a, one) s = Concat<axis = 0>(one, b)"]
)
def test_a_shape_with_arithmetic_on_sizes_is_unknown(body):
    graph = graph_of(f"z = Relu(x) {body}")
    assert entries(graph.values, graph["s"]) is None


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 8])
def test_entries_that_go_through_another_type_are_unknown(kind):
    """A size may overflow int8; int32 is not told apart."""
    graph = graph_of(f"z = Relu(x) a = Shape(x) s = Cast<to = {kind}>(a)")
    assert entries(graph.values, graph["s"]) is None
    graph = graph_of("z = Relu(x) a = Shape(x) s = Cast<to = 7>(a)")
    assert entries(graph.values, graph["s"]) == ["N", 4, "H", "W"]


def test_operators_of_another_domain_are_not_followed():
    graph = graph_of("z = other.Relu(x) s = other.Shape(x)")
    assert entries(graph.values, graph["s"]) is None
    graph["z"].shape = None
    assert size(graph.values, graph["z"], 2) == ("z", 2)
