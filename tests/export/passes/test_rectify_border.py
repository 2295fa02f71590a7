"""What the plugin does on the whole plane goes into the convolution, in every mode; and back."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes import rectify_border, rectify_unbiased
from tests.export.helper import build, check_pass, normal, operators, outputs, relative_l2

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[{pads}], dilations=[1,1], numerator={numerator}, empty_bias={empty}"


def net(numerator: int = 9, empty: int = 1, pads: str = "1,1,1,1", tail: str = "", **values: np.ndarray) -> ModelProto:
    """Conv, Rectify and a tail from z to u."""
    window = WINDOW.format(pads=pads, numerator=numerator, empty=empty)
    conv = "y = Conv<pads=[{}]>(x, w{})".format(pads, ", c" if "c" in values else "")
    body = f"{conv}\n z = rectexport.Rectify<{window}>(y, x, b)\n {tail or 'u = Neg(z)'}"
    weights = {"w": normal(3, 2, 3, 3), "b": normal(3, seed=1), **values}
    return build("(float[N,2,H,W] x) => (float[N,3,P,Q] u)", body, **weights)


def rectify_of(model: ModelProto) -> dict[str, object]:
    (node,) = (node for node in model.graph.node if node.op_type == "Rectify")
    return attributes(node)


@pytest.mark.parametrize("values", [{}, {"c": normal(3, seed=2)}, {"b": np.zeros(3, np.float32)}], ids=["", "c", "0"])
@pytest.mark.parametrize("pads", ["1,1,1,1", "2,0,1,3", "4,4,4,4"])
@pytest.mark.parametrize(("numerator", "empty"), [(9, 1), (9, 0), (1, 1), (1, 0), (4, 1)])
def test_modes(numerator: int, empty: int, pads: str, values: dict[str, np.ndarray]) -> None:
    """Sum, average and others; with pads of 4, some windows lie wholly outside."""
    model = net(numerator, empty, pads, **values)
    rewritten, _ = check_pass(rectify_border.run, model, {"x": normal(2, 2, 5, 6)})
    found = rectify_of(rewritten)
    assert found["numerator"] == 9 and found["biased"] == 1
    restored, _ = rectify_unbiased.run(rewritten)
    assert "biased" not in rectify_of(restored) or not rectify_of(restored)["biased"]
    x = {"x": normal(1, 2, 6, 4, seed=3)}
    assert relative_l2(outputs(model, x)[0], outputs(restored, x)[0]) <= 1e-6


@pytest.mark.parametrize(("bias", "order"), [(0, ["Conv", "Relu", "Rectify"]), (1, ["Conv", "Rectify", "Relu"])])
def test_a_relu_joins_the_convolution_where_there_is_no_bias(bias: int, order: list[str]) -> None:
    model = net(tail="u = Relu(z)", b=bias * normal(3, seed=1))
    rewritten, _ = check_pass(rectify_border.run, model, {"x": normal(2, 2, 5, 6)})
    assert operators(rewritten) == order


def test_shared_convolutions_and_computed_biases_stay() -> None:
    shared = net(tail="v = Add(y, z)\n u = Neg(v)")
    _, result = check_pass(rectify_border.run, shared, {"x": normal(2, 2, 5, 6)})
    assert [entry.reason for entry in result.refused] == ["no convolution reads it, or something else reads it too"]
    window = WINDOW.format(pads="1,1,1,1", numerator=9, empty=1)
    body = f"y = Conv<pads=[1,1,1,1]>(x, w)\n b = Abs(raw)\n u = rectexport.Rectify<{window}>(y, x, b)"
    weights = {"w": normal(3, 2, 3, 3)}
    model = build("(float[N,2,H,W] x, float[3] raw) => (float[N,3,P,Q] u)", body, **weights)
    _, result = check_pass(rectify_border.run, model, {"x": normal(2, 2, 5, 6), "raw": normal(3)})
    assert [entry.reason for entry in result.refused] == ["its bias is not a constant"]
