"""Maps counted by a convolution of ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from rectexport.exporter.passes import inline, rectify_graph, rectify_ones
from rectexport.exporter.passes.order import PASSES
from rectexport.exporter.passes.raising import raise_model
from rectexport.exporter.passes.rectification import factor_nodes
from tests.export.helper import build, check_pass, normal, operators, outputs
from tests.export.passes.strategies import Window, sizes, windows
from tests.export.passes.test_rectify_graph import convolution

SAME = Window((5, 6), (3, 3), pads=(1, 1, 1, 1))
BIAS = np.zeros(2, np.float32)
SMALL = ["Conv", "Shape", "Concat", "ConstantOfShape", "Conv", "Div", "Mul"]


def lowered(model: ModelProto, *feeds: Any) -> ModelProto:
    """Both passes; the second is checked."""
    found, _ = rectify_graph.run(model)
    written, result = check_pass(rectify_ones.run, found, *feeds)
    assert result.fired and not result.refused and not written.functions
    return written


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(window=windows(), shifted=st.booleans(), others=st.lists(sizes, max_size=2))
def test_against_the_reference(window: Window, shifted: bool, others: list[tuple[int, int]]) -> None:
    weight, bias = normal(2, 3, *window.kernel, seed=1), normal(2, seed=2) * np.float32(shifted)
    planes = [window.size, *(size for size in others if window.fits(size))]
    feeds = [{"x": normal(batch, 3, *size, seed=batch)} for batch, size in enumerate(planes, 1)]
    written = lowered(convolution(window, weight, bias), *feeds)
    for feed in feeds:
        expected = window.rectified(feed["x"], weight, bias, "bias")
        np.testing.assert_allclose(outputs(written, feed)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_it_takes_few_nodes_and_the_counts_equal_the_arithmetic() -> None:
    weight, feed = normal(2, 3, 3, 3), {"x": normal(1, 3, 5, 6)}
    found, _ = rectify_graph.run(convolution(SAME, weight, BIAS))
    written = lowered(convolution(SAME, weight, BIAS), feed)
    assert sorted(operators(written)) == sorted(SMALL)
    inlined, _ = inline.run(found)
    assert len(inlined.graph.node) > 35
    np.testing.assert_array_equal(outputs(written, feed)[0], outputs(inlined, feed)[0])


@pytest.mark.parametrize(
    ("window", "guarded"),
    [
        (SAME, False),
        (Window((5, 6), (3, 3), pads=(2, 2, 2, 2)), False),
        (Window((5, 6), (3, 3), pads=(0, 3, 0, 0)), True),
        (Window((5, 6), (3, 3), pads=(1, 1, 1, 1), dilations=(2, 1)), True),
    ],
)
def test_empty_windows_are_guarded_where_they_can_be(window: Window, guarded: bool) -> None:
    written = lowered(convolution(window, normal(2, 3, 3, 3), BIAS), {"x": normal(1, 3, 5, 6)})
    assert ("Where" in operators(written)) == guarded


def test_it_is_read_back_and_stays_in_float32() -> None:
    written = lowered(convolution(SAME, normal(2, 3, 3, 3), BIAS), {"x": normal(1, 3, 5, 6)})
    raised, _ = raise_model(written)
    assert operators(raised) == ["Conv", "Rectify"]
    assert {name.rpartition(".")[2] for name in factor_nodes(written)} >= {"taps", "ones"}


@pytest.mark.parametrize("change", ["Conv<pads=[1,1,0,1]>(x, w)", "Conv<pads=[1,1,1,1]>(x2, w)", "Relu(x)"])
def test_another_tensor_than_the_convolutions_output_is_refused(change: str) -> None:
    body = f"x2 = Neg(x)\n y = {change}\n r = rectexport.RectificationMap<{SAME.attributes}>(x, y)\n z = Mul(y, r)"
    model = build("(float[N,2,H,W] x) => (float[N,2,P,Q] z)", body, w=normal(2, 2, 3, 3))
    found, result = rectify_ones.run(model)
    assert found is model and len(result.refused) == 1


def test_a_fixed_size_is_left_to_constant_folding() -> None:
    body = f"y = Conv<{SAME.convolution}>(x, w)\n z = rectexport.Rectify<{SAME.attributes}, empty_bias=1>(y, x, b)"
    model = build("(float[N,3,5,6] x) => (float[N,2,5,6] z)", body, w=normal(2, 3, 3, 3), b=BIAS)
    found, _ = rectify_graph.run(model)
    written, result = rectify_ones.run(found)
    assert written is found and "fixed" in result.refused[0].reason
    assert "Shape" not in operators(inline.run(found)[0])


def test_it_is_for_tensorrt_alone() -> None:
    (entry,) = [entry for entry in PASSES if entry.name == rectify_ones.NAME]
    assert entry.targets == ("tensorrt",) and "int8" not in (entry.precision or ())
