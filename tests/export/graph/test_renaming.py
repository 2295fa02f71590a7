"""Outputs get the names asked for; every tensor keeps its value, and no two have one name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from rectexport.exporter.graph.renaming import rename_outputs
from tests.export.helper import build, outputs

X = np.array([[1.0, -2.0]], np.float32)


@pytest.mark.parametrize("names", [("a", "b"), ("z", "y"), ("h", "a"), ("w", "y")])
def test_names(names: tuple[str, str]) -> None:
    """Also swapped, and those of an inner tensor (h) and of a weight (w)."""
    body = "h = Relu(x) y = Add(h, w) z = Mul(y, h)"
    model = build("(float[1,2] x) => (float[1,2] y, float[1,2] z)", body, w=np.array([1.0, 2.0], np.float32))
    before = outputs(model, {"x": X})
    rename_outputs(model, names)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == list(names)
    for first, second in zip(before, outputs(model, {"x": X}), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_input_that_is_an_output() -> None:
    model = build("(float[1,2] x) => (float[1,2] x, float[1,2] y)", "y = Relu(x)")
    rename_outputs(model, ["same", "relu"])
    onnx.checker.check_model(model, full_check=True)
    same, relu = outputs(model, {"x": X})
    np.testing.assert_array_equal(same, X)
    np.testing.assert_array_equal(relu, np.maximum(X, 0))


def test_a_tensor_that_a_branch_reads() -> None:
    text = """
        c = Constant <value_ints = [1]> ()
        b = Cast <to = 9> (c)
        one = Squeeze(b)
        y = Relu(x)
        z = If (one) <
            then_branch = yes () => (float[1,2] t) { t = Neg(y) },
            else_branch = no () => (float[1,2] e) { e = Identity(y) }
        >
    """
    model = build("(float[1,2] x) => (float[1,2] y, float[1,2] z)", text)
    rename_outputs(model, ["t", "branch"])
    onnx.checker.check_model(model)
    relu, branch = outputs(model, {"x": X})
    np.testing.assert_array_equal(branch, -relu)
