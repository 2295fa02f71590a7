"""Who reads a tensor of two channel halves, and how."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.lowering.machinery.readers import Readers, linear_readers
from tests.export.helper import build, normal, outputs

SIGNATURE = "(float[2, 6, 4, 4] t, float[5, 6, 3, 3] u) => (float[A] z)"
ARRAYS = {
    "w": normal(5, 6, 3, 3),
    "grouped": normal(4, 3, 1, 1),
    "dense": normal(96, 7),
    "few": normal(6, 7),
    "flipped": normal(7, 6),
    "hw": np.array([2, 3]),
    "chw": np.array([1, 2, 3]),
    "flat": np.array([0, -1]),
    "two": np.array([2, 96]),
    "pairs": np.array([4, 48]),
    "sixteen": normal(16, 7),
    "half": normal(48, 7),
    "one": normal(2, 1, 1, 1),
}


def found(body, signature=SIGNATURE, **more):
    """Readers of p = Relu(t), whose six channels are the two halves."""
    text = f"p = Relu(t) {body}"
    used = {name: array for name, array in {**ARRAYS, **more}.items() if f" {name})" in text or f" {name}," in text}
    rank = "A, B" if "Gemm" in body or "MatMul" in body else "A, B, C, D"
    model = build(signature.replace("float[A]", f"float[{rank}]"), text, **used)
    graph = open_graph(model)
    return model, graph, linear_readers(graph, graph.tensors()["p"])


@pytest.mark.parametrize(
    ("body", "axis", "between"),
    [
        ("z = Conv<pads = [1, 1, 1, 1]>(p, w)", 1, []),
        ("f = Flatten(p) z = MatMul(f, dense)", 0, ["Flatten"]),
        ("f = Reshape(p, flat) z = Gemm(f, dense)", 0, ["Reshape"]),
        ("f = Reshape(p, two) z = Gemm(f, dense)", 0, ["Reshape"]),
        ("m = ReduceMean<keepdims = 0>(p, hw) z = Gemm<transB = 1>(m, flipped)", 1, ["ReduceMean"]),
        ("g = GlobalAveragePool(p) f = Flatten(g) z = MatMul(f, few)", 0, ["GlobalAveragePool", "Flatten"]),
        ("a = AveragePool<kernel_shape = [2, 2]>(p) z = Conv(a, w)", 1, ["AveragePool"]),
    ],
)
def test_linear_readers_and_what_stands_between(body, axis, between):
    _, _, readers = found(body)
    assert isinstance(readers, Readers)
    assert [reader.axis for reader in readers.linear] == [axis]
    assert [node.op for node in readers.between] == between


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("z = MaxPool<kernel_shape = [2, 2]>(p)", "is not linear in it"),
        ("q = Abs(p) z = Conv(q, w)", "is not linear in it"),
        ("z = Conv<group = 2>(p, grouped)", "has 2 groups"),
        ("f = Flatten<axis = 2>(p) z = MatMul(f, sixteen)", "is not linear in it"),
        ("m = ReduceMean(p, chw) z = Conv<group = 1>(m, one)", "is not linear in it"),
        ("f = Reshape(p, pairs) z = MatMul(f, half)", "is not linear in it"),
        ("v = Exp(u) z = Conv(p, v)", "the weights of"),
    ],
)
def test_other_readers_end_the_search(body, reason):
    assert reason in found(body)[2]


def test_an_output_and_a_tensor_that_nothing_reads():
    signature = SIGNATURE.replace("float[A] z", "float[A] z, float[2, 6, 4, 4] p")
    assert found("z = Conv(p, w)", signature)[2] == "p is an output of the graph"
    model = build("(float[2, 6, 4, 4] t) => (float[2, 6, 4, 4] z)", "p = Relu(t) z = Neg(t)")
    graph = open_graph(model)
    assert linear_readers(graph, graph.tensors()["p"]) == "nothing reads p"


def test_weights_are_split_and_put_together_by_halves():
    model, graph, readers = found("z = Conv<pads = [1, 1, 1, 1]>(p, w)")
    (reader,) = readers.linear
    first, second = reader.halves()
    np.testing.assert_array_equal(first, ARRAYS["w"][:, :3])
    np.testing.assert_array_equal(second, ARRAYS["w"][:, 3:])
    reader.rewrite(second, first)
    feeds = {"t": normal(2, 6, 4, 4, seed=1), "u": normal(5, 6, 3, 3)}
    swapped = {**feeds, "t": np.concatenate([feeds["t"][:, 3:], feeds["t"][:, :3]], axis=1)}
    (expected,), (actual,) = outputs(model, swapped), outputs(close_graph(graph, model), feeds)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", ["Conv", "AveragePool", "Flatten"])
def test_operators_of_another_domain_are_no_linear_readers(operator):
    bodies = {
        "Conv": "z = Conv(p, w)",
        "AveragePool": "a = AveragePool<kernel_shape = [2, 2]>(p) z = Conv(a, w)",
        "Flatten": "f = Flatten(p) z = MatMul(f, dense)",
    }
    model, _, readers = found(bodies[operator])
    assert isinstance(readers, Readers)
    next(node for node in model.graph.node if node.op_type == operator).domain = "mine"
    graph = open_graph(model)
    assert "is not linear" in linear_readers(graph, graph.tensors()["p"])


def test_a_reader_that_also_adds_the_tensor_is_not_linear():
    """Gemm's C may be the same tensor; its values change with the form."""
    _, _, readers = found("f = Flatten(p) z = Gemm(f, square, f)", square=normal(96, 96))
    assert "reads it twice" in readers
