"""Planes of one number."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.uniform import UniformPlane, uniform_plane
from tests.export.passes.matching.scenes import parsed

ARRAYS = {
    "three": np.array(3, np.float32),
    "plane": np.full((1, 1, 2, 3), 5, np.float32),
    "uneven": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3),
    "flat": np.full((1, 2, 3), 5, np.float32),
    "pair": np.array([3, 4], np.float32),
    "sizes": np.array([1, 1, 2, 3]),
    "ones": np.array([1, 1]),
}


def plane_of(body):
    graph = parsed(body, **ARRAYS)
    return uniform_plane(graph.values, graph["z"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("z = Identity(plane)", UniformPlane(5, [1, 1, 2, 3])),
        ("s = Shape(x) z = Expand(three, s)", UniformPlane(3, ["N", 4, "H", "W"])),
        (
            "s = Shape<start = 2>(x) c = Concat<axis = 0>(ones, s) z = Expand(three, c)",
            UniformPlane(3, [1, 1, "H", "W"]),
        ),
        ("s = Shape(x) z = ConstantOfShape(s)", UniformPlane(0, ["N", 4, "H", "W"])),
        ("s = Shape(x) z = ConstantOfShape<value = float[1] {2.0}>(s)", UniformPlane(2, ["N", 4, "H", "W"])),
        ("s = Shape(x) a = Expand(three, s) b = Cast<to = 1>(a) z = Identity(b)", UniformPlane(3, ["N", 4, "H", "W"])),
    ],
)
def test_uniform_planes(body, expected):
    assert plane_of(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "z = Identity(uneven)",
        "z = Identity(flat)",
        "z = Relu(x)",
        "s = Shape<start = 1>(x) z = Expand(three, s)",
        "s = Shape(x) t = Add(s, s) z = Expand(three, t)",
        "s = Shape(x) z = Expand(pair, s)",
        "s = Shape(x) z = Expand(x, s)",
    ],
    ids=["uneven", "rank 3", "the input", "rank 3 expanded", "sizes unknown", "two numbers", "values unknown"],
)
def test_other_tensors(body):
    assert plane_of(body) is None
