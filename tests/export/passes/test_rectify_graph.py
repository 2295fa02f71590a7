"""Rectification with dynamic H and W."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from rectexport.exporter.passes import PassResult, inline, rectify_graph
from tests.export.helper import Array, build, check_pass, constants, normal, operators, outputs
from tests.export.passes.strategies import Window, sizes, windows

SAME = Window((5, 6), (3, 3), pads=(1, 1, 1, 1))
RECTIFY = f"rectexport.Rectify<{SAME.attributes}, empty_bias=1>"
CONV = "Conv<pads=[1,1,1,1]>"
ZERO = np.zeros(2, np.float32)


def convolution(window: Window, weight: Array, bias: Array, empty_bias: int = 1) -> ModelProto:
    body = (
        f"y = Conv<{window.convolution}>(x, w)",
        f"z = rectexport.Rectify<{window.attributes}, empty_bias={empty_bias}>(y, x, b)",
    )
    signature = f"(float[N,{weight.shape[1]},H,W] x) => (float[N,{weight.shape[0]},P,Q] z)"
    return build(signature, "\n".join(body), w=weight, b=bias)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    window=windows(), empty=st.sampled_from(["bias", "zero"]), shifted=st.booleans(), others=st.lists(sizes, max_size=2)
)
def test_against_the_reference(window: Window, empty: str, shifted: bool, others: list[tuple[int, int]]) -> None:
    weight, bias = normal(2, 3, *window.kernel, seed=1), normal(2, seed=2) * np.float32(shifted)
    model = convolution(window, weight, bias, int(empty == "bias"))
    planes = [window.size, *(size for size in others if window.fits(size))]
    feeds = [{"x": normal(batch, 3, *size, seed=batch)} for batch, size in enumerate(planes, 1)]
    lowered, result = check_pass(rectify_graph.run, model, *feeds)
    assert len(result.fired) == 1 and not result.refused
    assert [entry.name for entry in lowered.functions] == ["RectificationMap"]
    for feed in feeds:
        expected = window.rectified(feed["x"], weight, bias, empty)
        np.testing.assert_allclose(outputs(lowered, feed)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_as_many_channels_as_pixels(side: str) -> None:
    """Where W or H equals C_out nothing may broadcast along the channels."""
    window = Window((4, 7), (3, 3), pads=(1, 2, 0, 1))
    outs = window.factors().shape[0 if side == "rows" else 1]
    weight, bias = normal(outs, 1, 3, 3), normal(outs)
    feed = {"x": normal(2, 1, 4, 7)}
    lowered, _ = check_pass(rectify_graph.run, convolution(window, weight, bias), feed)
    expected = window.rectified(feed["x"], weight, bias, "bias")
    np.testing.assert_allclose(outputs(lowered, feed)[0], expected, rtol=1e-5, atol=1e-6)


def maps(model: ModelProto) -> int:
    return operators(model).count("RectificationMap")


def test_one_map_for_layers_of_equal_window_and_named_sizes() -> None:
    body = f"a = {CONV}(x, w)\n b = {RECTIFY}(a, x, zero)\n c = {CONV}(b, w)\n z = {RECTIFY}(c, b, zero)"
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", body, w=normal(2, 2, 3, 3), zero=ZERO)
    for value in model.graph.value_info:  # as torch's exporter notes them
        if value.name == "b":
            value.type.tensor_type.shape.dim[2].dim_param = "H"
            value.type.tensor_type.shape.dim[3].dim_param = "W"
    lowered, result = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)}, {"x": normal(2, 2, 3, 8)})
    assert len(result.fired) == 2
    assert maps(lowered) == 1


def test_one_map_for_two_readers_of_one_tensor() -> None:
    body = (
        f"a = {CONV}(x, w)\n b = {RECTIFY}(a, x, zero)\n c = {CONV}(x, v)\n d = {RECTIFY}(c, x, zero)\n z = Add(b, d)"
    )
    values = {"w": normal(2, 2, 3, 3), "v": normal(2, 2, 3, 3, seed=1), "zero": ZERO}
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", body, **values)
    lowered, _ = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})
    assert maps(lowered) == 1


@pytest.mark.parametrize("second", ["K,W", "H,V", "W,H"])
def test_no_sharing_where_a_name_differs(second: str) -> None:
    body = f"a = {CONV}(x, w)\n p = {RECTIFY}(a, x, zero)\n b = {CONV}(y, w)\n q = {RECTIFY}(b, y, zero)"
    signature = f"(float[N,2,H,W] x, float[N,2,{second}] y) => (float[N,2,H,W] p, float[N,2,{second}] q)"
    model = build(signature, body, w=normal(2, 2, 3, 3), zero=ZERO)
    feeds = {"x": normal(1, 2, 5, 6), "y": normal(1, 2, *((6, 5) if second == "W,H" else (4, 7)))}
    if second != "W,H":
        feeds["y"] = normal(1, 2, *{"K,W": (4, 6), "H,V": (5, 7)}[second])
    lowered, _ = check_pass(rectify_graph.run, model, feeds)
    assert maps(lowered) == 2


def test_no_sharing_where_sizes_have_no_names() -> None:
    body = f"a = {CONV}(x, w)\n p = {RECTIFY}(a, x, zero)\n b = {CONV}(y, w)\n q = {RECTIFY}(b, y, zero)"
    model = build(
        "(float[N,2,?,?] x, float[N,2,?,?] y) => (float[N,2,?,?] p, float[N,2,?,?] q)",
        body,
        w=normal(2, 2, 3, 3),
        zero=ZERO,
    )
    lowered, _ = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6), "y": normal(1, 2, 3, 4)})
    assert maps(lowered) == 2


@pytest.mark.parametrize(
    "other",
    [
        Window((5, 6), (3, 3), pads=(1, 1, 1, 1), mode="average"),
        Window((5, 6), (3, 3), pads=(2, 2, 2, 2), dilations=(2, 2)),
        Window((5, 6), (5, 1), pads=(2, 0, 2, 0)),
    ],
)
def test_no_sharing_where_the_window_differs(other: Window) -> None:
    body = (
        f"a = {CONV}(x, w)\n b = {RECTIFY}(a, x, zero)",
        f"c = Conv<{other.convolution}>(x, v)\n d = rectexport.Rectify<{other.attributes}, empty_bias=1>(c, x, zero)",
        "z = Add(b, d)",
    )
    values = {"w": normal(2, 2, 3, 3), "v": normal(2, 2, *other.kernel), "zero": ZERO}
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", "\n".join(body), **values)
    lowered, _ = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})
    assert maps(lowered) == 2


def test_no_sharing_where_the_type_differs() -> None:
    """Both multiply by the same numbers, each in its own type."""
    body = (
        f"a = {CONV}(x, w)\n p = {RECTIFY}(a, x, zero)",
        f"x64 = Cast<to=11>(x)\n a64 = Cast<to=11>(a)\n q = {RECTIFY}(a64, x64, zero64)",
    )
    values = {"w": normal(2, 2, 3, 3), "zero": ZERO, "zero64": ZERO.astype(np.float64)}
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] p, double[N,2,H,W] q)", "\n".join(body), **values)
    check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})


def test_static_sizes_are_lowered_too() -> None:
    body = f"y = {CONV}(x, w)\n z = {RECTIFY}(y, x, b)"
    model = build("(float[N,2,5,6] x) => (float[N,2,5,6] z)", body, w=normal(2, 2, 3, 3), b=normal(2))
    lowered, _ = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})
    assert operators(lowered) == ["Conv", "RectificationMap", "Mul", "Add"]


def test_no_addition_of_zeros() -> None:
    lowered, _ = check_pass(rectify_graph.run, convolution(SAME, normal(2, 2, 3, 3), ZERO), {"x": normal(1, 2, 5, 6)})
    assert operators(lowered) == ["Conv", "RectificationMap", "Mul"]


def test_nodes_without_names_keep_their_own_bias() -> None:
    """Every tensor that the tail of a node makes carries the node's output in its name."""
    body = (
        f"a = {CONV}(x, w)\n b = {RECTIFY.replace('bias=1', 'bias=0')}(a, x, first)",
        f"c = {CONV}(b, w)\n z = {RECTIFY.replace('bias=1', 'bias=0')}(c, b, second)",
    )
    values = {"w": normal(2, 2, 3, 3), "first": normal(2, seed=3), "second": normal(2, seed=4)}
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", "\n".join(body), **values)
    lowered, _ = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})
    assert len([name for name in constants(lowered) if name.endswith(".shift")]) == 2


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("empty_bias", [0, 1])
def test_other_types(dtype: str, empty_bias: int) -> None:
    name = {"double": "float64"}.get(dtype, dtype)
    far = Window((5, 6), (1, 1), pads=(2, 0, 0, 1))
    body = f"y = Pad(x, p)\n z = rectexport.Rectify<{far.attributes}, empty_bias={empty_bias}>(y, x, b)"
    model = build(
        f"({dtype}[N,2,H,W] x) => ({dtype}[N,2,P,Q] z)",
        body,
        p=np.array([0, 0, 2, 0, 0, 0, 0, 1], np.int64),
        b=normal(2, dtype=name),
    )
    check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6, dtype=name)})


def test_runs_inlined() -> None:
    """What is left is standard operators only, and computes the same."""
    model = convolution(SAME, normal(2, 2, 3, 3), normal(2), empty_bias=0)
    lowered, _ = rectify_graph.run(model)
    inlined, _ = check_pass(inline.run, lowered, {"x": normal(1, 2, 5, 6)}, {"x": normal(2, 2, 1, 9)})
    assert {node.domain for node in inlined.graph.node} == {""}
    assert not inlined.functions


def test_only_our_own_operator() -> None:
    model = build("(float[N,2,H,W] x) => (float[N,4,H,W] z)", "z = rectexport.CRelu<axis=1>(x)")
    _, result = check_pass(rectify_graph.run, model, {"x": normal(1, 2, 5, 6)})
    assert result == PassResult("rectify_graph")
