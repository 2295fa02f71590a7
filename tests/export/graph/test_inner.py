"""Inner tensors of an ONNX model, run in ONNX Runtime."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from rectexport.exporter.graph.inner import run_inner, with_outputs
from tests.export.helper import build, normal

X = {"x": normal(3, 2)}


def model_of() -> ModelProto:
    return build("(float[N,2] x) => (float[N,2] y, float[N,2] z)", "a = Neg(x) y = Relu(a) z = Abs(x)")


def test_only_what_was_asked_for_comes_back_in_order() -> None:
    found = run_inner(model_of(), X, ["y", "a"])
    assert list(found) == ["y", "a"]
    np.testing.assert_array_equal(found["a"], -X["x"])
    np.testing.assert_array_equal(found["y"], np.maximum(-X["x"], 0))
    assert run_inner(model_of(), X, []) == {}


def test_the_model_is_left_alone() -> None:
    model = model_of()
    before = model.SerializeToString()
    run_inner(model, X, ["a"])
    assert [value.name for value in with_outputs(model, ["a"]).graph.output] == ["y", "z", "a"]
    assert model.SerializeToString() == before
