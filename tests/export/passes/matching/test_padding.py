"""Pad nodes as lists of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.padding import zero_pads
from tests.export.passes.matching.scenes import parsed

EIGHT = [0, 0, 1, 2, 0, 0, 3, 4]
ARRAYS = {
    "eight": np.array(EIGHT),
    "four": np.array([1, 2, 3, 4]),
    "hw": np.array([2, 3]),
    "ends": np.array([-2, -1]),
    "wh": np.array([3, 2]),
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
}


def pads_of(body):
    graph = parsed(body, **ARRAYS)
    return zero_pads(graph.scene, graph.node("z"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("z = Pad(x, eight)", EIGHT),
        ("z = Pad(x, eight, zero)", EIGHT),
        ("z = Pad(x, four, , hw)", EIGHT),
        ("z = Pad(x, four, , ends)", EIGHT),
        ("z = Pad(x, four, zero, wh)", [0, 0, 2, 1, 0, 0, 4, 3]),
    ],
)
def test_pads_of_every_axis(body, expected):
    assert pads_of(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        'z = Pad<mode = "reflect">(x, eight)',
        'z = Pad<mode = "edge">(x, eight)',
        "z = Pad(x, eight, one)",
        "s = Shape(x) p = Concat<axis = 0>(s, s) z = Pad(x, p)",
        "f = ReduceMax<keepdims = 0>(x) z = Pad(x, eight, f)",
    ],
    ids=["reflection", "edge", "ones", "computed pads", "computed fill"],
)
def test_other_padding_is_refused(body):
    assert pads_of(body) is None


def test_axes_need_the_rank():
    graph = parsed("z = Pad(x, four, , hw)", **ARRAYS)
    graph["x"].shape = None
    assert zero_pads(graph.scene, graph.node("z")) is None
