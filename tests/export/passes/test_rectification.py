"""Rectification factors in NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings

from rectexport.exporter.passes.rectification import factor_nodes, factors, safe_factor, taps, window
from tests.export.helper import build
from tests.export.passes.strategies import Window, windows


def node(case: Window) -> SimpleNamespace:
    attrs = {"kernel_shape": list(case.kernel), "strides": list(case.strides), "pads": list(case.pads)}
    return SimpleNamespace(attrs={**attrs, "dilations": list(case.dilations), "numerator": case.numerator})


@settings(max_examples=100, deadline=None)
@given(windows())
def test_factors_are_those_of_the_reference(case: Window) -> None:
    expected = case.factors()
    np.testing.assert_allclose(factors(node(case), case.size, expected.shape), expected[None, None], rtol=1e-14)


def test_taps_of_windows_over_both_ends() -> None:
    assert taps(5, 5, 3, 1, 1, 1).tolist() == [2, 3, 3, 3, 2]
    assert taps(4, 3, 3, 2, 2, 1).tolist() == [1, 3, 2]
    assert taps(3, 3, 2, 1, 1, 2).tolist() == [1, 2, 1]
    assert taps(2, 3, 1, 2, 1, 1).tolist() == [0, 1, 0]


def test_equal_windows_have_equal_keys() -> None:
    one, other = Window((5, 6), (3, 3), pads=(1, 1, 1, 1)), Window((9, 9), (3, 3), pads=(1, 1, 1, 1))
    assert hash(window(node(one))) == hash(window(node(other))) and window(node(one)) == window(node(other))
    assert window(node(one)) != window(node(Window((5, 6), (3, 3), pads=(1, 1, 1, 0))))


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((1, 1, 1, 4), 4, (1, 4, 1, 4)),
        ((1, 1, 4, 1), 4, (1, 4, 4, 1)),
        ((1, 1, 1, 4), 3, (1, 1, 1, 4)),
        ((1, 1, 4, 4), 4, (1, 1, 4, 4)),  # both axes vary: no simplifier takes it for a scale
        ((1, 1, 1, 1), 1, (1, 1, 1, 1)),
        ((1, 1, 1, 4), "C", (1, 1, 1, 4)),
    ],
)
def test_a_factor_is_repeated_where_it_looks_like_a_scale_per_channel(shape, channels, expected) -> None:
    r = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = safe_factor(r, channels)
    assert found.shape == expected
    np.testing.assert_array_equal(found, np.broadcast_to(r, expected))


def test_factor_nodes_are_those_between_the_sizes_and_the_multiplication() -> None:
    body = "s = Shape(x) h = Cast<to = 1>(s) d = ReduceMax<keepdims = 0>(h) r = Sqrt(d) y = Relu(x) z = Mul(y, r)"
    model = build("(float[N, 2, H, W] x) => (float[N, 2, H, W] z)", body)
    for entry in model.graph.node:
        entry.name = entry.output[0]
    assert factor_nodes(model) == []
    model.graph.node[-1].name = "rectify_scale.z"
    assert sorted(factor_nodes(model)) == ["d", "h", "r"]
