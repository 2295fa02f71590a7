"""Positions followed through operators that only move elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.matching.positions import Plane, onnx_range, plane_sizes, roots
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.values import Values
from tests.export.helper import build

SIZES = (4, 5)
STORED = {
    "one": np.array([1]), "two": np.array([2]), "three": np.array([3]), "end": np.array([9]), "back": np.array([-1]),
    "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "picks": np.array([4, 0, -1]), "shape": np.array([1, 2, 4, 5]),
    "times": np.array([1, 1, 2, 1]), "row": np.array([0, 1]), "channels": np.array([1]),
}  # fmt: skip


def scene_of(body: str, kind: str = "float[1,2,4,5]") -> Scene:
    graph = open_graph(build(f"({kind} x) => (float[a,b,c,d] y)", body, 19, **STORED))
    return Scene(graph, Values(graph))


PLANE = np.arange(20).reshape(SIZES)
MOVES: dict[str, tuple[str, Any]] = {
    "Slice": ("y = Slice(x, one, end, three)", PLANE[:, 1:]),
    "Slice backwards": ("y = Slice(x, back, one, three, back)", PLANE[:, :1:-1]),
    "Concat": ("y = Concat<axis = -1>(x, x)", np.concatenate([PLANE, PLANE], 1)),
    "Gather": ("y = Gather<axis = 3>(x, picks)", PLANE[:, [4, 0, 4]]),
    "Pad": ('y = Pad<mode = "edge">(x, pads)', np.pad(PLANE, [(1, 0), (0, 1)], "edge")),
    "Tile": ("y = Tile(x, times)", np.tile(PLANE, (2, 1))),
    "BoundaryPad": (
        "y = rectexport.BoundaryPad<modes = [0, 4], pads = [0, 2, 0, 0]>(x)",
        np.pad(PLANE, [(0, 0), (2, 0)], "symmetric"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_each_operator(name: str) -> None:
    body, expected = MOVES[name]
    scene = scene_of(body)
    found = Plane(scene, scene.graph.inputs[0], SIZES).places(scene.graph.outputs[0])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("body", ["y = Relu(x)", "y = Slice(x, one, two, channels)", "y = Concat<axis = 1>(x, x)"])
def test_what_changes_elements_or_channels_is_not_followed(body: str) -> None:
    scene = scene_of(body)
    assert Plane(scene, scene.graph.inputs[0], SIZES).places(scene.graph.outputs[0]) is None


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(1, 6),
    start=st.integers(-9, 9),
    stop=st.integers(-9, 9),
    step=st.sampled_from([-3, -2, -1, 1, 2, 3]),
)
def test_the_range_of_a_slice_is_onnxs(size: int, start: int, stop: int, step: int) -> None:
    from onnx.reference.ops.op_slice import _slice

    whole = np.arange(size)
    expected = _slice(whole, np.array([start]), np.array([stop]), np.array([0]), np.array([step]))
    found = onnx_range(size, start, stop, step)
    assert found is None if step < 0 and start < -size else found is not None and found.tolist() == expected.tolist()


def test_open_sizes_are_stood_in_for_by_two_that_exceed_every_bound() -> None:
    scene = scene_of("s = Slice(x, two, end, three)\n y = Concat<axis = 3>(s, x)", "float[1,2,H,5]")
    x, y = scene.graph.inputs[0], scene.graph.outputs[0]
    (one, other) = plane_sizes(scene, x, y)
    assert one[1] == other[1] == 5 and other[0] == one[0] + 1 and one[0] > 9
    assert plane_sizes(scene_of("y = Concat<axis = 3>(x, x)"), x, y) is not None


def test_roots_the_farthest_first() -> None:
    scene = scene_of("s = Slice(x, one, end, three)\n t = Concat<axis = 3>(s, x)\n y = Concat<axis = 2>(t, t)")
    assert [tensor.name for tensor in roots(scene.graph.outputs[0])] == ["x", "s", "t"]
