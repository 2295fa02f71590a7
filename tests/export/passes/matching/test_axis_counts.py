"""Tap counts along one axis that a graph computes from sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rectexport.exporter.passes import PassContext, select_passes
from rectexport.exporter.passes.matching.axis_counts import counted_axis
from rectexport.exporter.passes.matching.window import read_window
from rectexport.exporter.passes.raising import raise_model
from tests.export.helper import build, normal
from tests.export.passes.matching.scenes import parsed

# Taps of window i: those from max(i * s - p, 0) up to min(i * s - p + k, size).
COUNTS = """y = Conv<strides = [{s}, {s}], pads = [1, 1, 1, 1]>(x, w)
  hs = Shape<start = {axis}, end = {end}>(x) h = Squeeze(hs) os = Shape<start = {axis}, end = {end}>(y) o = Squeeze(os)
  i = Range(zero, {out}, one) m = Mul(i, stride) a = Sub(m, pad) low = Max(a, zero) e = Add(a, kernel) high = {high}
  v = Sub({top}, low) r = Reshape(v, {shape}) z = Cast<to = 1>(r)"""


def axis_of(**changes):
    parts = {
        "s": 2,
        "axis": 2,
        "out": "o",
        "high": "Min(e, h)",
        "top": "high",
        "shape": "rows",
        "stride": 2,
        "pad": 1,
        "kernel": 3,
    }
    parts |= changes
    parts["end"] = parts["axis"] + 1
    numbers = {name: np.array(parts[name]) for name in ("stride", "pad", "kernel")}
    shapes = {"rows": np.array([1, 1, -1, 1]), "columns": np.array([1, 1, 1, -1]), "flat": np.array([-1, 1])}
    weight = np.ones((2, 4, 3, 3), np.float32)
    body = COUNTS.format(**{key: value for key, value in parts.items() if key not in numbers})
    more = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "three": np.array(3)}
    graph = parsed(body, w=weight, **numbers, **shapes, **more)
    conv = graph.node("y")
    return counted_axis(graph.values, graph["r"], conv, read_window(graph.values, conv))


@pytest.mark.parametrize(
    ("changes", "axis"),
    [
        ({}, 0),
        ({"axis": 3, "shape": "columns"}, 1),
        ({"s": 1, "stride": 1}, 0),
        # The output's size computed from the input's. ONNX divides towards zero: (h - 1) / 2 + 1 = -((-h - 1) / 2).
        ({"out": "q", "high": "Min(e, h) h1 = Sub(h, one) h2 = Div(h1, two) q = Add(h2, one)"}, 0),
        ({"out": "q", "high": "Min(e, h) nh = Neg(h) h1 = Sub(nh, one) h2 = Div(h1, two) q = Neg(h2)"}, 0),
        ({"high": "Min(h, e)"}, 0),
        # max is the negative of the smallest negative.
        ({"high": "Neg(ng) ne = Neg(e) nh = Neg(h) ng = Max(ne, nh)"}, 0),
    ],
)
def test_counts_along_an_axis(changes, axis):
    assert axis_of(**changes) == axis


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 1},
        {"pad": 0},
        {"kernel": 4},
        {"s": 1},
        {"high": "Identity(e)"},
        {"axis": 3},
        {"shape": "columns"},
        {"shape": "flat"},
        {"out": "three"},
        {"high": "Mod(e, h)"},
    ],
    ids=["stride", "pad", "kernel", "conv", "no end", "width", "transposed", "rank", "length", "operator"],
)
def test_other_arithmetic_is_refused(changes):
    assert axis_of(**changes) is None


@given(st.integers(1, 5000))
@settings(max_examples=30, deadline=None)
def test_a_term_that_acts_at_large_sizes_alone_is_refused(far):
    more = f"fa = Constant<value_int = {far}>() ov = Sub(h, fa) mo = Max(ov, zero) hi = Add(high, mo)"
    assert axis_of(high=f"Min(e, h) {more}", top="hi") is None


@given(st.integers(2, 5000))
@settings(max_examples=30, deadline=None)
def test_a_quotient_that_acts_at_large_sizes_alone_is_refused(far):
    more = f"fa = Constant<value_int = {far}>() mo = Div(h, fa) hi = Add(high, mo)"
    assert axis_of(high=f"Min(e, h) {more}", top="hi") is None


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6])
def test_a_narrow_type_in_between_is_refused(kind):
    """int8 has no 140; a cast to int64 keeps every size."""
    assert axis_of(high=f"Min(e, g) nr = Cast<to = {kind}>(h) g = Cast<to = 7>(nr)") is None
    assert axis_of(high="Min(e, g) g = Cast<to = 7>(h)") == 0


@pytest.mark.parametrize("dilation", [1, 2, 6, 12, 24])
def test_our_own_spelling_is_read_at_every_dilation(dilation):
    window = f"kernel_shape = [3, 3], strides = [1, 1], pads = [{', '.join([str(dilation)] * 4)}]"
    window += f", dilations = [{dilation}, {dilation}]"
    body = f"y = Conv<{window}>(x, w) z = rectexport.Rectify<{window}, numerator = 9, empty_bias = 1>(y, x, b)"
    model = build("(float[N, 4, H, W] x) => (float[N, 2, P, Q] z)", body, w=normal(2, 4, 3, 3), b=normal(2))
    for entry in select_passes(PassContext("portable"), stages=("rectify", "finish")):
        model, _ = entry.run(model)
    _, results = raise_model(model)
    assert any(result.fired for result in results if result.name == "raise_rectification")
