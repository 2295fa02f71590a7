"""Tap counts along one axis that a graph computes from sizes."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.axis_counts import counted_axis
from rectexport.exporter.passes.matching.window import read_window
from tests.export.passes.matching.scenes import parsed

# Taps of window i: those from max(i * s - p, 0) up to min(i * s - p + k, size).
COUNTS = """y = Conv<strides = [{s}, {s}], pads = [1, 1, 1, 1]>(x, w)
  hs = Shape<start = {axis}, end = {end}>(x) h = Squeeze(hs) os = Shape<start = {axis}, end = {end}>(y) o = Squeeze(os)
  i = Range(zero, {out}, one) m = Mul(i, stride) a = Sub(m, pad) low = Max(a, zero) e = Add(a, kernel) high = {high}
  v = Sub(high, low) r = Reshape(v, {shape}) z = Cast<to = 1>(r)"""


def axis_of(**changes):
    parts = {"s": 2, "axis": 2, "out": "o", "high": "Min(e, h)", "shape": "rows", "stride": 2, "pad": 1, "kernel": 3}
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
