"""Identities, unused nodes, constants as nodes, equal constants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from rectexport.exporter.passes import PassResult, cleanup
from tests.export.helper import build, check_pass, constants, normal, operators

X = {"x": normal(2, 3)}
SIGNATURE = "(float[N,3] x) => (float[N,3] z)"


def test_identity_between_nodes() -> None:
    model = build(SIGNATURE, "a = Relu(x)\n b = Identity(a)\n c = Identity(b)\n z = Neg(c)")
    model, result = check_pass(cleanup.run, model, X)
    assert operators(model) == ["Relu", "Neg"]
    assert result.fired == ("Identity→b", "Identity→c")


def test_identity_after_a_graph_input() -> None:
    model, _ = check_pass(cleanup.run, build(SIGNATURE, "a = Identity(x)\n z = Add(a, x)"), X)
    assert operators(model) == ["Add"]


def test_identity_before_a_graph_output() -> None:
    """The output keeps its name, and every other reader of the tensor reads it now."""
    model = build("(float[N,3] x) => (float[N,3] z, float[N,3] u)", "a = Relu(x)\n z = Identity(a)\n u = Neg(a)")
    model, _ = check_pass(cleanup.run, model, X)
    assert operators(model) == ["Relu", "Neg"]
    assert model.graph.node[1].input == ["z"]


def test_identity_of_one_of_several_outputs() -> None:
    model = build(
        "(float[N,4] x) => (float[N,2] z, float[N,2] u)", "a, u = Split<axis=1, num_outputs=2>(x)\n z = Identity(a)"
    )
    model, _ = check_pass(cleanup.run, model, {"x": normal(2, 4)})
    assert operators(model) == ["Split"]
    assert model.graph.node[0].output == ["z", "u"]


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        (SIGNATURE, "z = Identity(x)"),
        ("(float[N,3] x) => (float[N,3] a, float[N,3] z)", "a = Relu(x)\n z = Identity(a)"),
    ],
)
def test_identity_that_joins_two_names_of_the_user(signature: str, body: str) -> None:
    _, result = check_pass(cleanup.run, build(signature, body), X)
    assert result == PassResult("cleanup")


def test_constant_that_the_graph_gives_out() -> None:
    model = build(
        "(float[N,3] x) => (float[3] z, float[N,3] u)", "z = Constant<value_floats=[1.0,2.0,3.0]>()\n u = Add(x, z)"
    )
    _, result = check_pass(cleanup.run, model, X)
    assert result == PassResult("cleanup")


def test_one_tensor_for_two_outputs() -> None:
    model = build("(float[N,3] x) => (float[N,3] z, float[N,3] u)", "a = Relu(x)\n z = Identity(a)\n u = Identity(a)")
    model, _ = check_pass(cleanup.run, model, X)
    assert operators(model) == ["Relu", "Identity"]


def test_unused_nodes() -> None:
    model, result = check_pass(cleanup.run, build(SIGNATURE, "a = Neg(x)\n b = Abs(a)\n z = Relu(x)"), X)
    assert operators(model) == ["Relu"]
    assert set(result.fired) == {"unused Neg", "unused Abs"}


def test_unused_graph_inputs_stay() -> None:
    model = build("(float[N,3] x, float[2] spare) => (float[N,3] z)", "a = Neg(x)\n z = Relu(x)")
    model, result = check_pass(cleanup.run, model, {**X, "spare": normal(2)})
    assert result.fired == ("unused Neg",)


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        ("value_floats=[1.0, 2.0, 3.0]", np.array([1, 2, 3], np.float32)),
        ("value_float=2.5", np.array(2.5, np.float32)),
        ("value=float[3] {4.0, 5.0, 6.0}", np.array([4, 5, 6], np.float32)),
    ],
)
def test_constant_nodes_become_initializers(constant: str, expected: np.ndarray) -> None:
    model, _ = check_pass(cleanup.run, build(SIGNATURE, f"c = Constant<{constant}>()\n z = Add(x, c)"), X)
    assert operators(model) == ["Add"]
    np.testing.assert_array_equal(constants(model)["c"], expected)
    assert constants(model)["c"].dtype == np.float32


@pytest.mark.parametrize("constant", ["value_ints=[3, 1]", "value=int64[2] {3, 1}"])
def test_whole_number_constants(constant: str) -> None:
    model = build("(float[3] x) => (float[3,1] z)", f"c = Constant<{constant}>()\n z = Reshape(x, c)")
    model, _ = check_pass(cleanup.run, model, {"x": normal(3)})
    assert operators(model) == ["Reshape"]
    assert constants(model)["c"].dtype == np.int64


def test_equal_constants_become_one() -> None:
    values = {"a": normal(3), "b": normal(3), "c": normal(3, seed=1), "d": normal(1, 3)}
    body = "p = Add(x, a)\n q = Add(p, b)\n r = Add(q, c)\n z = Add(r, d)"
    model, result = check_pass(cleanup.run, build(SIGNATURE, body, **values), X)
    assert sorted(constants(model)) == ["a", "c", "d"]
    assert result.fired == ("b = a",)


def test_equal_bytes_of_other_types_stay_apart() -> None:
    ones, bits = np.ones(3, np.float32), np.ones(3, np.float32).view(np.int32)
    body = "p = Add(x, a)\n i = Cast<to=1>(b)\n z = Add(p, i)"
    _, result = check_pass(cleanup.run, build(SIGNATURE, body, a=ones, b=bits), X)
    assert not result.fired


def test_zeros_of_both_signs_stay_apart() -> None:
    """They divide to different infinities."""
    zero = np.zeros(3, np.float32)
    model = build(SIGNATURE, "p = Div(x, a)\n q = Div(x, b)\n z = Min(p, q)", a=zero, b=-zero)
    _, result = check_pass(cleanup.run, model, X)
    assert not result.fired


def test_constants_that_the_graph_gives_out_stay() -> None:
    values = {"a": normal(3), "b": normal(3)}
    model = build("(float[N,3] x) => (float[N,3] z, float[3] b)", "p = Add(x, a)\n z = Add(p, b)", **values)
    _, result = check_pass(cleanup.run, model, X)
    assert not result.fired


def test_large_constants_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "COMPARED_BYTES", 11)
    model = build(SIGNATURE, "p = Add(x, a)\n z = Add(p, b)", a=normal(3), b=normal(3))
    assert not check_pass(cleanup.run, model, X)[1].fired
    monkeypatch.setattr(cleanup, "COMPARED_BYTES", 12)
    assert check_pass(cleanup.run, model, X)[1].fired


def test_tensors_read_in_a_branch_are_kept() -> None:
    branches = "then_branch = g () => (float[N,3] s) { s = Add(a, c) }, "
    branches += "else_branch = h () => (float[N,3] t) { t = Add(i, d) }"
    body = f"a = Relu(x)\n i = Identity(a)\n z = If<{branches}>(which)"
    model = build("(bool which, float[N,3] x) => (float[N,3] z)", body, c=normal(3), d=normal(3))
    model, _ = check_pass(cleanup.run, model, {**X, "which": np.array(True)}, {**X, "which": np.array(False)})
    assert operators(model) == ["Relu", "Identity", "If"]


def test_identity_of_another_domain_is_no_identity() -> None:
    model = build("(float[N,3] x) => (float[N,6] z)", "a = rectexport.NegConcat<axis=1>(x)\n z = Neg(a)")
    model.functions[0].name = model.graph.node[0].op_type = "Identity"
    model.graph.node[0].domain = model.functions[0].domain = "other"
    model.opset_import[1].CopyFrom(helper.make_opsetid("other", 1))
    del model.functions[0].opset_import[1:]
    _, result = check_pass(cleanup.run, model, X)
    assert not result.fired
