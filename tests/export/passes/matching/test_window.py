"""Windows of convolutions and pools: how they are read, and which taps they can have."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.window import LARGEST_KERNEL, Window, read_window
from rectexport.plugins import reference
from tests.export.passes.matching.scenes import parsed

WEIGHT = np.ones((2, 4, 3, 2), np.float32)
STATIC = "(float[1, 4, 7, 8] x) => (float[A, B, C, D] z)"


def read(node: str, signature: str = STATIC, **arrays):
    graph = parsed(node, signature, **(arrays or {"w": WEIGHT}))
    return read_window(graph.values, graph.node("z"))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("z = Conv(x, w)", Window((3, 2), (1, 1), (0, 0, 0, 0), (1, 1))),
        (
            "z = Conv<strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 3]>(x, w)",
            Window((3, 2), (2, 1), (1, 0, 2, 1), (1, 3)),
        ),
        ("z = AveragePool<kernel_shape = [2, 3]>(x)", Window((2, 3), (1, 1), (0, 0, 0, 0), (1, 1))),
        ('z = Conv<auto_pad = "VALID", pads = [1, 1, 1, 1]>(x, w)', Window((3, 2), (1, 1), (0, 0, 0, 0), (1, 1))),
        # 7 rows at stride 2 take 9: one more on both sides; 8 columns of 2 taps take 9.
        ('z = Conv<auto_pad = "SAME_UPPER", strides = [2, 1]>(x, w)', Window((3, 2), (2, 1), (1, 0, 1, 1), (1, 1))),
        ('z = Conv<auto_pad = "SAME_LOWER", strides = [2, 1]>(x, w)', Window((3, 2), (2, 1), (1, 1, 1, 0), (1, 1))),
    ],
)
def test_read_window(node, expected):
    assert read(node) == expected


def test_padding_by_rule_needs_the_size():
    assert read('z = Conv<auto_pad = "SAME_UPPER">(x, w)', "(float[1, 4, H, W] x) => (float[A, B, C, D] z)") is None


@pytest.mark.parametrize(
    "node",
    [
        "z = Conv<pads = [-1, 0, 0, 0]>(x, w)",
        "z = Conv<strides = [0, 1]>(x, w)",
        "z = Conv<dilations = [1, 0]>(x, w)",
        f"z = AveragePool<kernel_shape = [{LARGEST_KERNEL + 1}, 1]>(x)",
        "z = AveragePool<kernel_shape = [2, 2], pads = [1, 1]>(x)",
    ],
)
def test_attributes_of_no_convolution_are_refused(node):
    assert read(node) is None


def test_windows_along_one_and_three_axes():
    line = read("z = Conv<pads=[1,2], strides=[2]>(x, w)", "(float[1, 4, 7] x) => (float[A, B, C] z)", w=WEIGHT[..., 0])
    assert line == Window((3,), (2,), (1, 2), (1,)) and line.output_size((7,)) == (4,)
    deep = "(float[1, 4, 7, 8, 9] x) => (float[A, B, C, D, E] z)"
    volume = read('z = Conv<auto_pad = "SAME_UPPER">(x, w)', deep, w=np.repeat(WEIGHT[..., None], 2, -1))
    assert volume == Window((3, 2, 2), (1, 1, 1), (1, 0, 0, 1, 1, 1), (1, 1, 1))


def test_a_convolution_along_four_axes_has_no_window():
    weight = np.ones((2, 4, 1, 1, 1, 1), np.float32)
    assert read("z = Conv(x, w)", "(float[1, 4, 7, 7, 7, 7] x) => (float[A, B, C, D, E, F] z)", w=weight) is None


WINDOWS = [
    Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    Window((2, 5), (2, 3), (0, 2, 1, 4), (3, 1)),
    Window((1, 1), (1, 1), (1, 0, 0, 2), (1, 1)),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_output_size_and_taps_are_those_of_the_reference(window):
    r = reference.rectification_map(6, 9, window.kernel, window.strides, window.pads, window.dilations, mode="average")
    assert window.output_size((6, 9)) == r.shape
    counts = np.outer(*window.axis_taps((6, 9)))
    np.testing.assert_array_equal(counts, np.round(np.divide(1, r, where=r > 0, out=np.zeros_like(r))))


@pytest.mark.parametrize(
    ("window", "empty"),
    [
        (WINDOWS[0], False),
        (Window((3, 3), (1, 1), (2, 1, 1, 1), (1, 1)), False),
        (Window((3, 3), (1, 1), (3, 1, 1, 1), (1, 1)), True),  # a whole window of padding above
        (Window((2, 1), (1, 1), (1, 0, 1, 0), (2, 1)), True),  # one row lies between the two taps
        (Window((2, 1), (1, 1), (1, 0, 1, 0), (1, 1)), False),
        (Window((2, 1), (1, 1), (60, 0, 60, 0), (65, 1)), True),  # not counted: a gap this wide may hold anything
    ],
)
def test_a_window_that_can_miss_the_input_may_have_no_tap(window, empty):
    possible = window.possible_taps(0)
    assert possible.shape == (window.kernel[0] + 1,)
    assert bool(possible[0]) == empty and possible[1:].all()
