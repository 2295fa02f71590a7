"""Tensors that depend on constants alone are evaluated; all others are unknown."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from rectexport.exporter.passes.matching import values
from rectexport.exporter.passes.matching.values import MAX_BYTES, Values
from tests.export.passes.matching.scenes import parsed

C = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("z = Identity(c)", C),
        ("z = Mul(c, c)", C * C),
        ("k = Constant<value_float = 2.0>() a = Add(c, k) z = Transpose(a)", (C + 2).T),
        ("s = Shape(c) k = Cast<to = 1>(s) z = Sub(c, k)", C - 2),
    ],
)
def test_arithmetic_on_constants_is_computed(body, expected):
    graph = parsed(body, "(float[2, 2] x) => (float[A, B] z)", c=C)
    np.testing.assert_array_equal(graph.values.of(graph["z"]), expected)


@pytest.mark.parametrize(
    "body",
    [
        "z = Mul(c, x)",
        "a = Identity(x) z = Mul(c, a)",
        "a = RandomNormal<shape = [2, 2]>() z = Mul(c, a)",
        "z = other.Mul(c, c)",
        "b = Constant<value = bool {1}>() z = If(b) <then_branch = t () => (float[2, 2] p) { p = Identity(c) }, "
        "else_branch = e () => (float[2, 2] q) { q = Identity(c) }>",
    ],
    ids=["input", "behind an input", "random", "another domain", "subgraph"],
)
def test_everything_else_is_unknown(body):
    graph = parsed(body, "(float[2, 2] x) => (float[A, B] z)", c=C)
    assert graph.values.of(graph["z"]) is None


@pytest.mark.parametrize(("rows", "known"), [(1, True), (MAX_BYTES, False)])
def test_a_small_file_cannot_ask_for_a_large_result(monkeypatch, rows, known):
    evaluated = []

    def evaluator(node, **options):
        evaluated.append(node.op_type)
        return ReferenceEvaluator(node, **options)

    monkeypatch.setattr(values, "ReferenceEvaluator", evaluator)
    graph = parsed("z = Expand(c, s)", "(float[1] x) => (float[A, B] z)", c=C[:, :1], s=np.array([rows, 1, 1]))
    assert (graph.values.of(graph["z"]) is not None) == known
    assert evaluated == ["Expand"] * known, "what is too large is not even computed"


def test_a_value_is_computed_once(monkeypatch):
    calls = []
    compute = Values._compute
    monkeypatch.setattr(Values, "_compute", lambda self, tensor: calls.append(tensor.name) or compute(self, tensor))
    graph = parsed("a = Mul(c, c) b = Add(a, a) z = Sub(b, a)", "(float[2, 2] x) => (float[A, B] z)", c=C)
    np.testing.assert_array_equal(graph.values.of(graph["z"]), C * C)
    graph.values.of(graph["z"])
    assert sorted(calls) == ["a", "b", "z"]


def test_bfloat16_constants_are_unknown():
    import onnx_graphsurgeon as gs

    stored = helper.make_tensor("w", TensorProto.BFLOAT16, [2], [1.0, 2.0])
    nodes = [helper.make_node("Add", ["x", "w"], ["z"])]
    values = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [2]) for name in "xz"]
    graph = gs.import_onnx(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [stored])))
    assert Values(graph).of(graph.tensors()["w"]) is None
