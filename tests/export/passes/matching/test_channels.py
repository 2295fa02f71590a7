"""Channel groups by Split and by Slice."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.channels import Groups, channel_groups
from tests.export.passes.matching.scenes import parsed

SIGNATURE = "(float[N, 7, H, W] x, float[N, 7, H, W] o) => (float[N, C, H, W] z)"
ARRAYS = {f"n{index}": np.array([index]) for index in range(8)} | {
    "last": np.array([-1]),
    "far": np.array([2**40]),
    "channels": np.array([-3]),
    "sizes": np.array([3, 2, 2]),
}
GROUPS = ("a", "b", "c")


def groups_of(body, names=GROUPS, signature=SIGNATURE):
    graph = parsed(f"{body} z = Concat<axis = 1>({', '.join(names)})", signature, **ARRAYS)
    found = channel_groups(graph.scene, [graph[name] for name in names])
    return found.sizes if isinstance(found, Groups) and found.x is graph["x"] else found


SLICES = "a = Slice(x, n0, n3, n1) b = Slice(x, {}) c = Slice(x, n5, far, channels, n1)"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a, b, c = Split<axis = 1>(x, sizes)", [3, 2, 2]),
        ("a, b, c = Split<axis = -3>(x, sizes)", [3, 2, 2]),
        ("a, b, c = Split<axis = 1, num_outputs = 3>(x)", [3, 3, 1]),
        (SLICES.format("n3, n5, n1"), [3, 2, 2]),
        (SLICES.format("n3, n5, channels, n1"), [3, 2, 2]),
    ],
)
def test_groups_in_order(body, expected):
    assert groups_of(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("b, a, c = Split<axis = 1>(x, sizes)", "not one Split's outputs in order"),
        ("a, b, c = Split<axis = 2>(x, sizes)", "not the channels"),
        ("s = Shape<end = 3>(o) a, b, c = Split<axis = 1>(x, s)", "channels of x are unknown"),
        (SLICES.format("n4, n5, n1"), "not the channels in order"),
        (SLICES.format("n3, n4, n1"), "not the channels in order"),
        (SLICES.format("n3, n5, n2"), "b is no contiguous slice"),
        (SLICES.format("n3, n5, n1, n2"), "b is no contiguous slice"),
        (SLICES.format("n5, n3, n1"), "b is no contiguous slice"),
        (SLICES.format("n3, n5, n1").replace("far", "last"), "leave channels out"),
        (SLICES.format("n3, n5, n1").replace("b = Slice(x", "b = Slice(o"), "not of one tensor"),
        ("a, d, c = Split<axis = 1>(x, sizes) b = Slice(x, n3, n5, n1)", "Split and Slice both"),
        ("a, d, c = Split<axis = 1>(x, sizes) b = Relu(d)", "not the groups of one tensor"),
    ],
)
def test_other_groups_are_refused(body, reason):
    assert reason in groups_of(body)


@pytest.mark.parametrize("body", ["a, b, c = Split<axis = 1, num_outputs = 3>(x)", SLICES.format("n3, n5, n1")])
def test_the_number_of_channels_must_be_known(body):
    assert "channels of x are unknown" in groups_of(body, signature=SIGNATURE.replace("7", "K"))
