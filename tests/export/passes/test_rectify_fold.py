"""Rectification with static H and W."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from rectexport.exporter.passes import PassResult, rectify_fold
from tests.export.helper import Array, build, check_pass, constants, normal, operators, outputs
from tests.export.passes.strategies import Window, windows

SAME = Window((5, 6), (3, 3), pads=(1, 1, 1, 1))
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def convolution(window: Window, weight: Array, bias: Array, empty_bias: int = 1) -> ModelProto:
    """x -> conv -> Rectify -> z with a dynamic batch."""
    height, width = window.size
    rows, columns = window.factors().shape
    body = (
        f"y = Conv<{window.convolution}>(x, w)",
        f"z = rectexport.Rectify<{window.attributes}, empty_bias={empty_bias}>(y, x, b)",
    )
    outs, inputs = weight.shape[:2]
    signature = f"(float[N,{inputs},{height},{width}] x) => (float[N,{outs},{rows},{columns}] z)"
    return build(signature, "\n".join(body), w=weight, b=bias)


def planes(model: ModelProto) -> list[Array]:
    """The constants that a multiplication reads; what a bias is added with is not one of them."""
    read = {name for node in model.graph.node if node.op_type == "Mul" for name in node.input}
    return [value for name, value in constants(model).items() if name in read]


@many
@given(window=windows(), empty=st.sampled_from(["bias", "zero"]), shifted=st.booleans())
def test_against_the_reference(window: Window, empty: str, shifted: bool) -> None:
    weight, bias = normal(2, 3, *window.kernel, seed=1), normal(2, seed=2) * np.float32(shifted)
    model = convolution(window, weight, bias, int(empty == "bias"))
    feeds = [{"x": normal(batch, 3, *window.size, seed=batch)} for batch in (1, 2)]
    folded, result = check_pass(rectify_fold.run, model, *feeds)
    assert len(result.fired) == 1 and not result.refused
    assert not folded.functions
    for feed in feeds:
        expected = window.rectified(feed["x"], weight, bias, empty)
        np.testing.assert_allclose(outputs(folded, feed)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@many
@given(window=windows(), channels=st.sampled_from(["rows", "columns", "two"]))
def test_no_factor_looks_like_a_scale_per_channel(window: Window, channels: str) -> None:
    """A simplifier folds (1,1,1,W) or (1,1,H,1) into the weights where W or H equals C_out."""
    rows, columns = window.factors().shape
    outs = {"rows": rows, "columns": columns, "two": 2}[channels]
    model = convolution(window, normal(outs, 1, *window.kernel), normal(outs))
    folded, _ = check_pass(rectify_fold.run, model, {"x": normal(2, 1, *window.size)})
    lookalike = 1 in (rows, columns) and outs in (rows, columns) and outs != 1
    for value in planes(folded):
        assert value.shape == (1, outs if lookalike else 1, rows, columns)
    expected = window.factors().astype(np.float32)
    if (expected == 1).all():
        assert "Mul" not in operators(folded)
    else:
        np.testing.assert_array_equal(planes(folded)[0][0, 0], expected)


def test_one_constant_for_layers_of_equal_geometry() -> None:
    same, wide = SAME.attributes, Window((5, 6), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)).attributes
    average = Window((5, 6), (3, 3), pads=(1, 1, 1, 1), mode="average").attributes
    rectify = "rectexport.Rectify<{}, empty_bias=1>"
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, w)",
        f"b = {rectify.format(same)}(a, x, zero)",
        "c = Conv<pads=[1,1,1,1]>(b, w)",
        f"d = {rectify.format(same)}(c, b, zero)",
        "e = Conv<pads=[2,2,2,2], dilations=[2,2]>(d, w)",
        f"f = {rectify.format(wide)}(e, d, zero)",
        "g = Conv<pads=[1,1,1,1]>(f, w)",
        f"z = {rectify.format(average)}(g, f, zero)",
    )
    model = build(
        "(float[N,2,5,6] x) => (float[N,2,5,6] z)", "\n".join(body), w=normal(2, 2, 3, 3), zero=np.zeros(2, np.float32)
    )
    folded, result = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    assert len(result.fired) == 4
    assert operators(folded).count("Mul") == 4
    assert len(planes(folded)) == 3


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("first", "second"), [((5, 6), (6, 5)), ((5, 6), (5, 7)), ((3, 4), (4, 4))])
def test_other_sizes_get_other_constants(first: tuple[int, int], second: tuple[int, int], stride: int) -> None:
    """With stride 2 planes of 3 and of 4 rows both have 2 rows of output, but other factors."""
    body, shapes = [], []
    for name, size in (("0", first), ("1", second)):
        window = Window(size, (3, 3), (stride, stride), (1, 1, 1, 1))
        body.append(f"y{name} = Conv<{window.convolution}>(x{name}, w)")
        rectify = f"rectexport.Rectify<{window.attributes}, empty_bias=1>"
        body.append(f"z{name} = {rectify}(y{name}, x{name}, zero)")
        shapes.append((size, window.factors().shape))
    given = ", ".join(f"float[N,2,{size[0]},{size[1]}] x{index}" for index, (size, _) in enumerate(shapes))
    made = ", ".join(f"float[N,2,{out[0]},{out[1]}] z{index}" for index, (_, out) in enumerate(shapes))
    model = build(f"({given}) => ({made})", "\n".join(body), w=normal(2, 2, 3, 3), zero=np.zeros(2, np.float32))
    folded, _ = check_pass(rectify_fold.run, model, {"x0": normal(1, 2, *first), "x1": normal(1, 2, *second)})
    assert len(planes(folded)) == 2


def test_no_multiplication_by_ones() -> None:
    """A 1x1 window, or one without padding, misses no tap."""
    for window in (Window((5, 6), (1, 1)), Window((5, 6), (3, 2)), Window((5, 6), (1, 1), mode="average")):
        weight = normal(2, 2, *window.kernel)
        feed = {"x": normal(1, 2, 5, 6)}
        folded, _ = check_pass(rectify_fold.run, convolution(window, weight, normal(2)), feed)
        assert operators(folded) == ["Conv", "Add"]
        folded, _ = check_pass(rectify_fold.run, convolution(window, weight, np.zeros(2, np.float32)), feed)
        assert operators(folded) == ["Conv", "Identity"]


def test_no_addition_of_zeros() -> None:
    model = convolution(SAME, normal(2, 2, 3, 3), np.zeros(2, np.float32))
    folded, _ = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    assert operators(folded) == ["Conv", "Mul"]


def test_bias_is_masked_only_where_pixels_are_empty() -> None:
    feed = {"x": normal(1, 2, 5, 6)}
    folded, _ = check_pass(rectify_fold.run, convolution(SAME, normal(2, 2, 3, 3), normal(2), empty_bias=0), feed)
    assert operators(folded) == ["Conv", "Mul", "Add"]
    far = Window((5, 6), (1, 1), pads=(2, 0, 0, 0))
    folded, _ = check_pass(rectify_fold.run, convolution(far, normal(2, 2, 1, 1), normal(2), empty_bias=0), feed)
    assert sorted(operators(folded)) == ["Add", "Conv", "Mul", "Mul"]
    (z,) = outputs(folded, feed)
    assert (z[:, :, :2] == 0).all() and (z[:, :, 2:] != 0).all()


def test_bias_that_is_computed() -> None:
    body = f"y = Conv<pads=[1,1,1,1]>(x, w)\n z = rectexport.Rectify<{SAME.attributes}, empty_bias=1>(y, x, b)"
    model = build("(float[N,2,5,6] x, float[2] b) => (float[N,2,5,6] z)", body, w=normal(2, 2, 3, 3))
    feed = {"x": normal(1, 2, 5, 6), "b": normal(2, seed=3)}
    folded, _ = check_pass(rectify_fold.run, model, feed)
    assert sorted(operators(folded)) == ["Add", "Conv", "Mul", "Reshape"]


@pytest.mark.parametrize("dims", ["H,6", "5,W", "H,W"])
def test_refused_where_a_size_is_dynamic(dims: str) -> None:
    body = f"y = Conv<pads=[1,1,1,1]>(x, w)\n z = rectexport.Rectify<{SAME.attributes}, empty_bias=1>(y, x, b)"
    model = build(f"(float[N,2,{dims}] x) => (float[N,2,{dims}] z)", body, w=normal(2, 2, 3, 3), b=normal(2))
    _, result = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    assert not result.fired
    (refused,) = result.refused
    assert refused.reason == "H, W dynamic"
    assert "z" in refused.node


def test_refused_where_the_shape_is_unknown() -> None:
    model = convolution(SAME, normal(2, 2, 3, 3), normal(2))
    del model.graph.value_info[:]
    _, result = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    assert [entry.reason for entry in result.refused] == ["H, W dynamic"]


def test_nodes_without_names_do_not_share_a_bias() -> None:
    rectify = f"rectexport.Rectify<{SAME.attributes}, empty_bias=1>"
    body = (
        f"a = Conv<pads=[1,1,1,1]>(x, w)\n b = {rectify}(a, x, first)",
        f"c = Conv<pads=[1,1,1,1]>(b, w)\n z = {rectify}(c, b, second)",
    )
    values = {"w": normal(2, 2, 3, 3), "first": normal(2, seed=3), "second": normal(2, seed=4)}
    model = build("(float[N,2,5,6] x) => (float[N,2,5,6] z)", "\n".join(body), **values)
    folded, _ = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    shifts = [value.ravel().tolist() for value in constants(folded).values() if value.shape == (1, 2, 1, 1)]
    assert sorted(shifts) == sorted([values["first"].tolist(), values["second"].tolist()])


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_types(dtype: str) -> None:
    body = f"y = Neg(x)\n z = rectexport.Rectify<{SAME.attributes}, empty_bias=0>(y, x, b)"
    name = {"double": "float64"}.get(dtype, dtype)
    model = build(f"({dtype}[N,2,5,6] x) => ({dtype}[N,2,5,6] z)", body, b=normal(2, dtype=name))
    folded, _ = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6, dtype=name)})
    assert {value.dtype.name for value in constants(folded).values()} == {name}


def test_only_our_own_operator() -> None:
    model = build("(float[N,2,5,6] x) => (float[N,4,5,6] z)", "z = rectexport.CRelu<axis=1>(x)")
    _, result = check_pass(rectify_fold.run, model, {"x": normal(1, 2, 5, 6)})
    assert result == PassResult("rectify_fold")
    model = convolution(SAME, normal(2, 2, 3, 3), normal(2))
    model.graph.node[1].domain = "other"
    model.opset_import.append(helper.make_opsetid("other", 1))
    _, result = rectify_fold.run(model)
    assert result == PassResult("rectify_fold")
