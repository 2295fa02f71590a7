"""Tensors that only repeat and leave out elements of another."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.graph.selections import selection
from rectexport.exporter.graph.surgeon import open_graph
from tests.export.helper import build

ENDS = {"one": np.array([1]), "last": np.array([9]), "first": np.array([0]), "axis": np.array([2])}
BORDER = (
    "a = Slice(x, first, one, axis) b = Concat<axis=2>(x, a) c = Slice(b, one, last, axis) d = Concat<axis=2>(b, c)"
)


def found(body: str, signature: str = "(float[1,2,5] x) => (float[A,B,C] y)"):
    graph = open_graph(build(signature, body, 18, **ENDS))
    tensor = graph.tensors()["d"]
    what = selection(graph, tensor)
    return None if what is None else (what[0].name, sorted(node.outputs[0].name for node in what[1]))


def test_a_border_comes_from_one_tensor() -> None:
    assert found(f"{BORDER} y = Relu(d)") == ("x", ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    "body",
    [
        "e = Neg(x) d = Concat<axis=2>(x, e) y = Relu(d)",
        f"{BORDER} e = Relu(d) f = ReduceMax(b) y = Mul(e, f)",
        "d = Relu(x) y = Neg(d)",
    ],
    ids=["two tensors", "a part is read elsewhere", "another operator"],
)
def test_what_is_none(body: str) -> None:
    assert found(body) is None


def test_an_output_of_the_graph_stays() -> None:
    both = "(float[1,2,5] x) => (float[A,B,C] y, float[D,E,F] b)"
    assert found(f"{BORDER} y = Relu(d)", both) is None
