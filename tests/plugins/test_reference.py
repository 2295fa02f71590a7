"""The NumPy reference against torch, against cases computed by hand, and against identities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from rectexport.plugins import reference as ref
from rectexport.plugins.reference import Array

PROPERTY = settings(max_examples=40, deadline=None)
MODES: tuple[ref.Mode, ...] = get_args(ref.Mode)
CORNERS: tuple[ref.Corner, ...] = get_args(ref.Corner)
ORDERS = tuple(ref.SYMMETRIC_ORDERS)


@dataclass(frozen=True)
class Conv:
    """The attributes of one convolution, with the sizes of its data."""

    size: tuple[int, int] = (6, 7)
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    inputs: int = 4
    outputs: int = 6

    def attributes(self) -> dict[str, Any]:
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}

    def data(self, seed: int = 0) -> tuple[Array, Array, Array]:
        """Standard normal x, weight and bias."""
        draw = np.random.default_rng(seed).standard_normal
        x = draw((2, self.inputs, *self.size))
        weight = draw((self.outputs, self.inputs // self.groups, *self.kernel))
        return x, weight, draw(self.outputs)


CONVS = [
    Conv(),
    Conv(pads=(0, 0, 0, 0)),
    Conv(pads=(0, 1, 2, 3)),
    Conv(size=(13, 9), kernel=(7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
    Conv(kernel=(5, 2), strides=(2, 3), pads=(2, 0, 1, 1), groups=2),
    Conv(size=(9, 8), dilations=(2, 3), pads=(2, 3, 2, 3)),
    Conv(size=(3, 3), dilations=(2, 2), pads=(2, 2, 2, 2)),
    Conv(size=(1, 1), pads=(2, 2, 2, 2)),
    Conv(size=(1, 1), kernel=(2, 2), dilations=(2, 2), pads=(1, 1, 1, 1)),
    Conv(kernel=(1, 1), pads=(1, 1, 1, 1)),
    Conv(groups=4, outputs=8),
    Conv(strides=(4, 1), kernel=(2, 3)),
]


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    """Any small convolution whose window fits into its padded input."""
    small = st.integers(1, 3)
    groups = draw(small)
    conv = Conv(
        size=(draw(st.integers(1, 8)), draw(st.integers(1, 8))),
        kernel=(draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        strides=(draw(small), draw(small)),
        pads=draw(st.tuples(*[st.integers(0, 3)] * 4)),
        dilations=(draw(small), draw(small)),
        groups=groups,
        inputs=groups * draw(st.integers(1, 2)),
        outputs=groups * draw(st.integers(1, 2)),
    )
    for axis in (0, 1):
        padded = conv.size[axis] + conv.pads[axis] + conv.pads[axis + 2]
        assume(padded > (conv.kernel[axis] - 1) * conv.dilations[axis])
    return conv


def torch_conv(x: Array, weight: Array, bias: Array | None, conv: Conv) -> Array:
    """The same convolution by torch, with the padding done first so that it may be asymmetric."""
    top, left, bottom, right = conv.pads
    padded = functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    y: torch.Tensor = functional.conv2d(
        padded,
        torch.from_numpy(weight),
        None if bias is None else torch.from_numpy(bias),
        stride=conv.strides,
        dilation=conv.dilations,
        groups=conv.groups,
    )
    result: Array = y.numpy()
    return result


def counts_by_torch(conv: Conv) -> Array:
    """v as the convolution of ones with ones."""
    single = Conv(**{**vars(conv), "groups": 1})
    counts = torch_conv(np.ones((1, 1, *conv.size)), np.ones((1, 1, *conv.kernel)), None, single)
    return counts.reshape(counts.shape[2:])


def ratio(numerator: float, v: Array) -> Array:
    """numerator / v, and 0 where v = 0."""
    return np.divide(numerator, v, out=np.zeros_like(v), where=v > 0)


def close(actual: Array, expected: Any, tolerance: float = 1e-11) -> None:
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    assert actual.shape == np.shape(expected)


# Tap counts and the rectification map


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((4, 3, 1, 1, 1, 1), [2, 3, 3, 2]),
        ((3, 2, 1, 0, 1, 1), [2, 2, 1]),  # padding on one side only
        ((7, 7, 2, 3, 3, 1), [4, 6, 6, 4]),  # no window is whole
        ((5, 3, 1, 2, 2, 2), [2, 2, 3, 2, 2]),
        ((3, 3, 1, 2, 2, 2), [2, 1, 2]),  # the middle window overhangs both sides
        ((1, 3, 1, 1, 1, 1), [1]),
        ((2, 1, 1, 1, 1, 1), [0, 1, 1, 0]),
        ((1, 2, 1, 1, 1, 2), [0]),  # the only input lies between the two taps
        ((5, 3, 3, 0, 0, 1), [3]),  # the last two inputs are never read
        ((4, 3, 2, 1, 1, 1), [2, 3]),  # the padding after is never read
    ],
)
def test_valid_taps_by_hand(arguments: tuple[int, int, int, int, int, int], expected: list[int]) -> None:
    counts = ref.valid_taps(*arguments)
    assert counts.dtype == np.int64
    assert counts.tolist() == expected


def test_rectification_map_by_hand() -> None:
    corner, edge, inside = 9 / 4, 1.5, 1.0
    expected = [
        [corner, edge, edge, corner],
        [edge, inside, inside, edge],
        [edge, inside, inside, edge],
        [corner, edge, edge, corner],
    ]
    close(ref.rectification_map(4, 4, (3, 3), pads=(1, 1, 1, 1)), expected, 0)


def test_average_map_by_hand() -> None:
    expected = [[1 / 4, 1 / 6, 1 / 4], [1 / 6, 1 / 9, 1 / 6], [1 / 4, 1 / 6, 1 / 4]]
    close(ref.rectification_map(3, 3, (3, 3), pads=(1, 1, 1, 1), mode="average"), expected, 0)


def test_pads_are_top_left_bottom_right() -> None:
    # 3x1 kernel over 3x2, padded 1 above and 2 to the right.
    expected = [[1.5, 1.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    close(ref.rectification_map(3, 2, (3, 1), pads=(1, 0, 0, 2)), expected, 0)


@pytest.mark.parametrize(("size", "interior"), [(7, 25), (6, 16)])
def test_interior_share(size: int, interior: int) -> None:
    r = ref.rectification_map(size, size, (3, 3), pads=(1, 1, 1, 1))
    assert np.count_nonzero(r == 1) == interior
    assert r.size == size * size


@pytest.mark.parametrize("conv", CONVS)
def test_map_is_taps_over_convolved_ones(conv: Conv) -> None:
    v = counts_by_torch(conv)
    taps = conv.kernel[0] * conv.kernel[1]
    close(ref.rectification_map(*conv.size, conv.kernel, **conv.attributes()), ratio(taps, v))
    close(ref.rectification_map(*conv.size, conv.kernel, **conv.attributes(), mode="average"), ratio(1, v))


@PROPERTY
@given(convs())
def test_map_is_taps_over_convolved_ones_anywhere(conv: Conv) -> None:
    expected = ratio(conv.kernel[0] * conv.kernel[1], counts_by_torch(conv))
    close(ref.rectification_map(*conv.size, conv.kernel, **conv.attributes()), expected)


@PROPERTY
@given(convs())
def test_sum_map_is_taps_times_average_map(conv: Conv) -> None:
    total = ref.rectification_map(*conv.size, conv.kernel, **conv.attributes(), mode="sum")
    average = ref.rectification_map(*conv.size, conv.kernel, **conv.attributes(), mode="average")
    close(total, conv.kernel[0] * conv.kernel[1] * average)


# Convolution


def test_conv2d_by_hand() -> None:
    x = np.arange(1, 10).reshape(1, 1, 3, 3)
    weight = [[[[1, 2], [3, 4]]]]
    close(ref.conv2d(x, weight, [0.5]), [[[[37.5, 47.5], [67.5, 77.5]]]], 0)
    # Padded above and to the left, stride 2: windows at rows -1, 1 and columns -1, 1.
    close(ref.conv2d(x, weight, strides=(2, 2), pads=(1, 1, 0, 0)), [[[[4, 18], [36, 77]]]], 0)


def test_conv2d_dilation_by_hand() -> None:
    x = np.arange(1, 10).reshape(1, 1, 3, 3)
    close(ref.conv2d(x, [[[[1, 2], [3, 4]]]], dilations=(2, 2)), [[[[1 + 6 + 21 + 36]]]], 0)


@pytest.mark.parametrize("conv", CONVS)
def test_conv2d_is_torch(conv: Conv) -> None:
    x, weight, bias = conv.data()
    close(
        ref.conv2d(x, weight, bias, **conv.attributes(), groups=conv.groups),
        torch_conv(x, weight, bias, conv),
    )
    close(ref.conv2d(x, weight, **conv.attributes(), groups=conv.groups), torch_conv(x, weight, None, conv))


@PROPERTY
@given(convs(), st.integers(0, 2**32 - 1))
def test_conv2d_is_torch_anywhere(conv: Conv, seed: int) -> None:
    x, weight, bias = conv.data(seed)
    close(
        ref.conv2d(x, weight, bias, **conv.attributes(), groups=conv.groups),
        torch_conv(x, weight, bias, conv),
    )


def test_other_dtypes_are_converted() -> None:
    x, weight, bias = (array.astype(np.float16) for array in Conv().data())
    wide_x, wide_weight, wide_bias = (array.astype(np.float64) for array in (x, weight, bias))
    close(ref.conv2d(x, weight, bias), ref.conv2d(wide_x, wide_weight, wide_bias), 0)
    close(ref.rectified_conv2d(x, weight, bias), ref.rectified_conv2d(wide_x, wide_weight, wide_bias), 0)


# Rectified convolution


def test_rectified_conv2d_by_hand() -> None:
    # 1x3 kernel (1, 10, 100) over the row 1, 2, 3: conv gives 210, 321, 32 and r is 3/2, 1, 3/2.
    x, weight, pads = [[[[1, 2, 3]]]], [[[[1, 10, 100]]]], (0, 1, 0, 1)
    close(ref.rectified_conv2d(x, weight, [4], pads=pads), [[[[319, 325, 52]]]])
    close(ref.rectified_conv2d(x, weight, [4], pads=pads, bias_mode="inside"), [[[[321, 325, 54]]]])
    close(ref.rectified_conv2d(x, weight, [3], pads=pads, mode="average"), [[[[108, 110, 19]]]])
    close(
        ref.rectified_conv2d(x, weight, [3], pads=pads, mode="average", bias_mode="inside"),
        [[[[106.5, 108, 17.5]]]],
    )


@pytest.mark.parametrize(
    ("bias_mode", "empty", "border", "first"),
    [
        ("after", "bias", 5.0, 7.0),
        ("after", "zero", 0.0, 7.0),
        ("inside", "bias", 0.0, 7.0),
        ("inside", "zero", 0.0, 7.0),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_windows_without_input(
    mode: ref.Mode, bias_mode: ref.BiasMode, empty: ref.Empty, border: float, first: float
) -> None:
    """A 1x1 kernel with padding 1: every window on the border lies wholly inside the padding."""
    y = ref.rectified_conv2d(
        [[[[1, 2], [3, 4]]]], [[[[2]]]], [5], pads=(1, 1, 1, 1), mode=mode, bias_mode=bias_mode, empty=empty
    )
    expected = np.full((1, 1, 4, 4), border)
    expected[0, 0, 1:3, 1:3] = [[first, 9], [11, 13]]
    close(y, expected, 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("conv", CONVS)
def test_rectified_conv2d_is_scaled_torch(conv: Conv, mode: ref.Mode) -> None:
    x, weight, bias = conv.data()
    v = counts_by_torch(conv)
    r = ratio(conv.kernel[0] * conv.kernel[1] if mode == "sum" else 1, v)
    plain, b = torch_conv(x, weight, None, conv), bias[:, None, None]

    def rectified(bias_mode: ref.BiasMode, empty: ref.Empty) -> Array:
        return ref.rectified_conv2d(
            x,
            weight,
            bias,
            **conv.attributes(),
            groups=conv.groups,
            mode=mode,
            bias_mode=bias_mode,
            empty=empty,
        )

    close(rectified("after", "bias"), r * plain + b)
    close(rectified("after", "zero"), np.where(v > 0, r * plain + b, 0))
    close(rectified("inside", "bias"), r * (plain + b))
    close(rectified("inside", "zero"), r * (plain + b))


@pytest.mark.parametrize("conv", CONVS)
def test_zeroed_after_is_partialconv(conv: Conv) -> None:
    """The arithmetic of NVIDIA/partialconv without a mask, its epsilon included."""
    x, weight, bias = conv.data()
    b, v = bias[:, None, None], counts_by_torch(conv)
    mask_ratio = conv.kernel[0] * conv.kernel[1] / (v + 1e-8) * np.clip(v, 0, 1)
    expected = ((torch_conv(x, weight, bias, conv) - b) * mask_ratio + b) * np.clip(v, 0, 1)
    y = ref.rectified_conv2d(x, weight, bias, **conv.attributes(), groups=conv.groups, empty="zero")
    close(y, expected, 1e-6)


@PROPERTY
@given(convs(), st.sampled_from(MODES), st.floats(-3, 3), st.floats(-3, 3))
def test_constant_stays_constant(conv: Conv, mode: ref.Mode, value: float, tap: float) -> None:
    """The point of the operator: a constant image has no border after it."""
    x = np.full((1, conv.inputs, *conv.size), value)
    weight = np.full((conv.outputs, conv.inputs // conv.groups, *conv.kernel), tap)
    y = ref.rectified_conv2d(x, weight, None, **conv.attributes(), groups=conv.groups, mode=mode)
    expected = value * tap * conv.inputs / conv.groups
    if mode == "sum":
        expected *= conv.kernel[0] * conv.kernel[1]
    close(y, np.broadcast_to(np.where(counts_by_torch(conv) > 0, expected, 0), y.shape))


@PROPERTY
@given(convs(), st.sampled_from(MODES), st.sampled_from(get_args(ref.Empty)))
def test_rectify_applied_to_a_plain_convolution(conv: Conv, mode: ref.Mode, empty: ref.Empty) -> None:
    x, weight, bias = conv.data()
    y = ref.rectify(
        torch_conv(x, weight, None, conv),
        x.shape,
        bias,
        conv.kernel,
        **conv.attributes(),
        mode=mode,
        empty=empty,
    )
    expected = ref.rectified_conv2d(x, weight, bias, **conv.attributes(), groups=conv.groups, mode=mode, empty=empty)
    close(y, expected)


def test_rectify_by_hand() -> None:
    y = np.ones((1, 2, 1, 4))
    # 1x1 kernel, 2 wide, padded 1 at left and right: v = 0, 1, 1, 0.
    arguments = (y, (9, 9, 1, 2), [10, 20], (1, 1), (1, 1), (0, 1, 0, 1))
    close(ref.rectify(*arguments), [[[[10, 11, 11, 10]], [[20, 21, 21, 20]]]], 0)
    close(ref.rectify(*arguments, empty="zero"), [[[[0, 11, 11, 0]], [[0, 21, 21, 0]]]], 0)
    close(ref.rectify(y, (9, 9, 1, 2), None, *arguments[3:]), [[[[0, 1, 1, 0]]] * 2], 0)


def test_without_padding_nothing_is_rectified() -> None:
    conv = Conv(pads=(0, 0, 0, 0), strides=(2, 1))
    x, weight, bias = conv.data()
    close(ref.rectified_conv2d(x, weight, bias, **conv.attributes()), torch_conv(x, weight, bias, conv))


def test_batch_norm_scale_folds_and_shift_stays_outside() -> None:
    conv = Conv()
    x, weight, gamma = conv.data()
    beta, mean, var = gamma + 1, gamma - 1, gamma**2 + 0.1
    scale = gamma / np.sqrt(var + 1e-5)
    normalized = ref.batch_norm(ref.rectified_conv2d(x, weight, None, **conv.attributes()), gamma, beta, mean, var)
    folded = ref.rectified_conv2d(x, scale[:, None, None, None] * weight, beta - scale * mean, **conv.attributes())
    close(normalized, folded)


# Symmetric padding


def test_published_orders() -> None:
    assert ref.SYMMETRIC_ORDERS == {
        "wu": ("BR", "TL", "BL", "TR"),
        "wu_poster": ("BR", "BL", "TR", "TL"),
        "elnas": ("TL", "TR", "BL", "BR"),
        "symmetricpad2d": ("TL", "BL", "TR", "BR"),
    }
    assert all(sorted(corners) == sorted(CORNERS) for corners in ref.SYMMETRIC_ORDERS.values())


@pytest.mark.parametrize(
    ("channels", "first", "last"),
    [
        (1, (1, 0, 0, 0), (0, 0, 0, 1)),
        (3, (1, 1, 1, 0), (0, 0, 0, 3)),
        (4, (1, 1, 1, 1), (1, 1, 1, 1)),
        (6, (2, 2, 1, 1), (1, 1, 1, 3)),
        (7, (2, 2, 2, 1), (1, 1, 1, 4)),
        (64, (16, 16, 16, 16), (16, 16, 16, 16)),
    ],
)
def test_group_sizes(channels: int, first: tuple[int, ...], last: tuple[int, ...]) -> None:
    assert ref.group_sizes(channels) == ref.group_sizes(channels, "first") == first
    assert ref.group_sizes(channels, "last") == last


@pytest.mark.parametrize(("kernel", "low", "high"), [(2, 0, 1), (4, 1, 2), (6, 2, 3)])
@pytest.mark.parametrize("order", ORDERS)
def test_symmetric_pad_moves_away_from_the_corner(order: str, kernel: int, low: int, high: int) -> None:
    """One pixel per channel: extra padding at the bottom right leaves it at (low, low), and so on."""
    where = {"BR": (low, low), "TL": (high, high), "BL": (low, high), "TR": (high, low)}
    expected = np.zeros((1, 4, kernel, kernel))
    for channel, corner in enumerate(ref.SYMMETRIC_ORDERS[order]):
        expected[(0, channel, *where[corner])] = 5 + channel
    close(ref.symmetric_pad(np.arange(5, 9).reshape(1, 4, 1, 1), kernel, order), expected, 0)


@pytest.mark.parametrize(("remainder", "corners"), [("first", "BR BR TL TL BL TR"), ("last", "BR TL BL TR TR TR")])
def test_left_over_channels(remainder: ref.Remainder, corners: str) -> None:
    x = np.arange(1.0, 25.0).reshape(1, 6, 2, 2)
    padded = ref.symmetric_pad(x, 2, "wu", remainder)
    for channel, corner in enumerate(corners.split()):
        extra = {"B": (0, 1), "T": (1, 0)}[corner[0]], {"R": (0, 1), "L": (1, 0)}[corner[1]]
        close(padded[0, channel], np.pad(x[0, channel], extra), 0)


# x = [[1, 2], [3, 4]] and the kernel [[1, 10], [100, 1000]]: each digit names the pixel that a tap read.
C2SP_BY_HAND = {
    "BR": [[4321, 402], [43, 4]],
    "TL": [[1000, 2100], [3010, 4321]],
    "BL": [[3010, 4321], [30, 43]],
    "TR": [[2100, 200], [4321, 402]],
}


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("order", ORDERS)
def test_c2sp_by_hand(order: str, corner: ref.Corner) -> None:
    channel = ref.SYMMETRIC_ORDERS[order].index(corner)
    x = np.tile([[1.0, 2.0], [3.0, 4.0]], (1, 4, 1, 1))
    weight = np.zeros((1, 4, 2, 2))
    weight[0, channel] = [[1, 10], [100, 1000]]
    y = ref.symmetric_conv2d(x, weight, [0.5], order=order)
    close(y, np.array([[C2SP_BY_HAND[corner]]]) + 0.5, 0)


def corner_of_each_channel(channels: int, order: str, remainder: ref.Remainder) -> list[ref.Corner]:
    sizes = ref.group_sizes(channels, remainder)
    return [c for c, size in zip(ref.SYMMETRIC_ORDERS[order], sizes, strict=True) for _ in range(size)]


@st.composite
def symmetric_cases(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.integers(1, 3))
    return {
        "kernel": draw(st.sampled_from([2, 4])),
        "inputs": groups * draw(st.integers(1, 4)),
        "outputs": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "stride": draw(st.integers(1, 3)),
        "size": (draw(st.integers(1, 7)), draw(st.integers(1, 7))),
        "order": draw(st.sampled_from(ORDERS)),
        "remainder": draw(st.sampled_from(["first", "last"])),
    }


def embedded_kernel(weight: Array, corners: list[ref.Corner], groups: int) -> Array:
    """Each k x k slice placed into its input channel's corner of a (k + 1) x (k + 1) kernel."""
    outputs, inputs, k, _ = weight.shape
    odd = np.zeros((outputs, inputs, k + 1, k + 1))
    for o, c in np.ndindex(outputs, inputs):
        corner = corners[o // (outputs // groups) * inputs + c]
        row, column = int(corner[0] == "B"), int(corner[1] == "R")
        odd[o, c, row : row + k, column : column + k] = weight[o, c]
    return odd


@PROPERTY
@given(symmetric_cases())
def test_symmetric_conv_is_one_odd_conv(case: dict[str, Any]) -> None:
    k, groups, stride = case["kernel"], case["groups"], case["stride"]
    half = k // 2
    conv = Conv(
        size=case["size"],
        kernel=(k, k),
        strides=(stride, stride),
        pads=(half, half, half, half),
        groups=groups,
        inputs=case["inputs"],
        outputs=case["outputs"],
    )
    x, weight, bias = conv.data()
    corners = corner_of_each_channel(case["inputs"], case["order"], case["remainder"])
    y = ref.symmetric_conv2d(x, weight, bias, stride, groups, case["order"], case["remainder"])
    close(y, torch_conv(x, embedded_kernel(weight, corners, groups), bias, conv))
    assert y.shape[2:] == tuple((size - 1) // stride + 1 for size in case["size"])


@pytest.mark.parametrize("kernel", [2, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_symmetric_conv_is_four_asymmetric_convs(order: str, kernel: int) -> None:
    conv = Conv(size=(5, 6), kernel=(kernel, kernel), inputs=8)
    x, weight, _ = conv.data()
    low, high = kernel // 2 - 1, kernel // 2
    total = np.zeros((2, conv.outputs, *conv.size))
    for group, corner in enumerate(ref.SYMMETRIC_ORDERS[order]):
        top, bottom = (low, high) if corner[0] == "B" else (high, low)
        left, right = (low, high) if corner[1] == "R" else (high, low)
        part = slice(2 * group, 2 * group + 2)
        total += torch_conv(
            x[:, part], weight[:, part], None, Conv(kernel=conv.kernel, pads=(top, left, bottom, right))
        )
    close(ref.symmetric_conv2d(x, weight, order=order), total)


# Activations and batch normalization


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.1 * x)


def test_activations_by_hand() -> None:
    x = np.array([[[1.0, -2.0]], [[0.0, 3.0]]]).reshape(1, 2, 1, 2)
    close(ref.relu(x), [[[[1, 0]], [[0, 3]]]], 0)
    close(ref.neg_concat(x), [[[[1, -2]], [[0, 3]], [[-1, 2]], [[0, -3]]]], 0)
    close(ref.crelu(x), [[[[1, 0]], [[0, 3]], [[0, 2]], [[0, 0]]]], 0)
    close(ref.crelu(x, leaky), [[[[1, -0.2]], [[0, 3]], [[-0.1, 2]], [[0, -0.3]]]])
    close(ref.avr(x), [[[[1, 2]], [[0, 3]]]], 0)
    close(
        ref.scaled_crelu(x, [2, 1, 3, 1], [0, -1, 1, 2]),
        [[[[2, 0]], [[0, 2]], [[0, 7]], [[2, 0]]]],
        0,
    )


@PROPERTY
@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_crelu_and_avr_identities(values: list[float]) -> None:
    x = np.array(values).reshape(1, 3, 1, 2)
    positive, negative = np.split(ref.crelu(x), 2, axis=1)
    close(positive - negative, x, 0)
    close(positive + negative, ref.avr(x), 0)
    close(ref.relu(x) + ref.relu(-x), ref.avr(x), 0)
    close(ref.relu(ref.neg_concat(x)), ref.crelu(x), 0)
    close(ref.scaled_crelu(x, np.ones(6), np.zeros(6)), ref.crelu(x), 0)
    close(ref.crelu(x), functional.relu(torch.cat([torch.from_numpy(x), -torch.from_numpy(x)], 1)).numpy(), 0)


@pytest.mark.parametrize("conv", [conv for conv in CONVS if conv.groups == 1])
def test_rectified_conv_then_crelu_is_one_doubled_conv(conv: Conv) -> None:
    x, weight, bias = conv.data()
    doubled = np.concatenate([weight, -weight]), np.concatenate([bias, -bias])
    once = ref.relu(ref.rectified_conv2d(x, *doubled, **conv.attributes()))
    close(ref.crelu(ref.rectified_conv2d(x, weight, bias, **conv.attributes())), once)


NUMPY_MODES = {
    "zeros": "constant",
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
    "symmetric": "symmetric",
}
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@pytest.mark.parametrize("border", NUMPY_MODES)
@PROPERTY
@given(size=st.integers(3, 7), begin=st.integers(0, 2), end=st.integers(0, 2), rank=st.integers(1, 3))
def test_a_border_is_numpys(border: ref.Border, size: int, begin: int, end: int, rank: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *(size + axis for axis in range(rank))))
    expected = np.pad(x, [(0, 0), (0, 0), *[(begin, end)] * rank], mode=NUMPY_MODES[border])
    found = ref.boundary_pad(x, [begin] * rank + [end] * rank, [border] * rank)
    np.testing.assert_array_equal(found, expected)


def test_rows_beyond_the_poles() -> None:
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    found = ref.boundary_pad(x, (2, 0, 1, 0), ("poles", "zeros"))[0, 0]
    assert found.tolist() == [[6, 7, 4, 5], [2, 3, 0, 1], *x[0, 0].tolist(), [10, 11, 8, 9]]
    found = ref.boundary_pad(x, (1, 1, 1, 0), ("pole_points", "circular"))[0, 0]
    assert found[0].tolist() == [5, 6, 7, 4, 5] and found[-1].tolist() == [5, 6, 7, 4, 5]
    odd = ref.boundary_pad(np.arange(3.0).reshape(1, 1, 1, 3), (1, 0, 0, 0), ("poles", "zeros"))
    assert odd[0, 0, 0].tolist() == np.roll([0, 1, 2], 3 // 2).tolist()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_with_a_border_is_torchs(rank: int, groups: int) -> None:
    draw = np.random.default_rng(rank).standard_normal
    x, weight, bias = draw((2, 4, *(6, 7, 5)[:rank])), draw((6, 4 // groups, *(2, 3, 2)[:rank])), draw(6)
    strides, dilations = (2, 1, 1)[:rank], (1, 2, 1)[:rank]
    padded = functional.pad(torch.tensor(x), [1, 2] * rank, mode="circular")
    expected = CONVOLUTIONS[rank](padded, *map(torch.tensor, (weight, bias)), strides, 0, dilations, groups)
    pads = [1] * rank + [2] * rank
    found = ref.boundary_conv(x, weight, bias, strides, pads, ["circular"] * rank, dilations, groups)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("pads", "borders", "message"),
    [
        ([4, 0], ["circular"], "reaches no 4 elements beyond an axis of 3"),
        ([0, 3], ["reflect"], "reaches no 3 elements"),
        ([0, 4], ["symmetric"], "reaches no 4 elements"),
        ([-1, 0], ["zeros"], "pads: expected at least 0"),
        ([1, 1, 1, 1], ["zeros", "zeros"], "expected rank 4"),
        ([1, 1], ["poles"], "belongs to the axis before the last"),
        ([1, 1], ["mirror"], "border: expected one of"),
        ([1], ["zeros"], "pads: expected 2 integers"),
    ],
)
def test_borders_that_are_refused(pads: list[int], borders: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ref.boundary_pad(np.zeros((1, 1, 3)), pads, borders)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (3, 4, 2, 5)])
def test_batch_norm_is_torch(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0).standard_normal
    x, weight, bias, mean, var = draw(shape), draw(4), draw(4), draw(4), draw(4) ** 2
    tx, tmean, tvar, tweight, tbias = (torch.from_numpy(a) for a in (x, mean, var, weight, bias))
    for eps in (2e-5, 1e-5):
        expected = functional.batch_norm(tx, tmean, tvar, tweight, tbias, eps=eps).numpy()
        close(ref.batch_norm(x, weight, bias, mean, var, eps), expected)
    close(ref.batch_norm(x, weight, bias, mean, var), expected)  # 1e-5 is the default


# Refusals

X, W = np.ones((1, 4, 5, 5)), np.ones((2, 4, 3, 3))
REFUSALS: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    ("size: expected at least 1, got 0", ref.valid_taps, (0, 3, 1, 1, 1, 1), {}),
    ("kernel: expected at least 1, got 0", ref.valid_taps, (5, 0, 1, 1, 1, 1), {}),
    ("stride: expected at least 1, got 0", ref.valid_taps, (5, 3, 0, 1, 1, 1), {}),
    ("pad_before: expected at least 0, got -1", ref.valid_taps, (5, 3, 1, -1, 1, 1), {}),
    ("pad_after: expected at least 0, got -1", ref.valid_taps, (5, 3, 1, 1, -1, 1), {}),
    ("dilation: expected at least 1, got 0", ref.valid_taps, (5, 3, 1, 1, 1, 0), {}),
    ("padded size: expected at least 5, the window's extent, got 4", ref.valid_taps, (3, 3, 1, 1, 0, 2), {}),
    ("mode: expected one of sum, average, got 'avg'", ref.rectification_map, (5, 5, (3, 3)), {"mode": "avg"}),
    ("kernel_shape: expected 2 integers, got (3,)", ref.rectification_map, (5, 5, (3,)), {}),
    ("pads: expected 4 integers, got (1, 1)", ref.rectification_map, (5, 5, (3, 3)), {"pads": (1, 1)}),
    ("x: expected rank 4, got shape (4, 5, 5)", ref.conv2d, (X[0], W), {}),
    ("weight: expected rank 4, got shape (3,)", ref.conv2d, (X, np.ones(3)), {}),
    ("x: expected 4 * 1 = 4 channels, got 3", ref.conv2d, (X[:, :3], W), {}),
    ("x: expected 4 * 2 = 8 channels, got 4", ref.conv2d, (X, W), {"groups": 2}),
    (
        "weight: expected output channels divisible by groups 4, got 2",
        ref.conv2d,
        (X, W[:, :1]),
        {"groups": 4},
    ),
    ("groups: expected at least 1, got 0", ref.conv2d, (X, W), {"groups": 0}),
    ("bias: expected shape (2,), got (3,)", ref.conv2d, (X, W, np.ones(3)), {}),
    ("bias: expected shape (2,), got (2, 1)", ref.rectified_conv2d, (X, W, np.ones((2, 1))), {}),
    ("bias: expected shape (2,), got (1,)", ref.rectified_conv2d, (X, W, [1]), {"bias_mode": "inside"}),
    ("strides: expected 2 integers, got (1, 1, 1)", ref.conv2d, (X, W), {"strides": (1, 1, 1)}),
    ("dilations: expected 2 integers, got ()", ref.conv2d, (X, W), {"dilations": ()}),
    ("padded size: expected at least 3, the window's extent, got 2", ref.conv2d, (X[:, :, :2], W), {}),
    ("mode: expected one of sum, average, got 'max'", ref.rectified_conv2d, (X, W), {"mode": "max"}),
    ("bias_mode: expected one of after, inside, got ''", ref.rectified_conv2d, (X, W), {"bias_mode": ""}),
    ("empty: expected one of bias, zero, got 'nan'", ref.rectified_conv2d, (X, W), {"empty": "nan"}),
    (
        "empty: expected one of bias, zero, got 'nan'",
        ref.rectify,
        (X, X.shape, None, (1, 1)),
        {"empty": "nan"},
    ),
    ("x_shape: expected 4 integers, got (5, 5)", ref.rectify, (X, (5, 5), None, (3, 3)), {}),
    (
        "y: expected height and width (3, 3), got shape (1, 4, 5, 5)",
        ref.rectify,
        (X, X.shape, None, (3, 3)),
        {},
    ),
    ("bias: expected shape (4,), got (2,)", ref.rectify, (X, X.shape, [1, 2], (1, 1)), {}),
    ("channels: expected at least 1, got 0", ref.group_sizes, (0,), {}),
    ("channels: expected a multiple of 4, got 6", ref.group_sizes, (6, "error"), {}),
    ("remainder: expected one of first, last, error, got 'drop'", ref.group_sizes, (6, "drop"), {}),
    ("kernel: expected a positive even number, got 3", ref.symmetric_pad, (X, 3), {}),
    ("kernel: expected a positive even number, got 0", ref.symmetric_pad, (X, 0), {}),
    ("got 'Wu'", ref.symmetric_pad, (X,), {"order": "Wu"}),
    ("weight: expected a square kernel, got shape (2, 4, 3, 2)", ref.symmetric_conv2d, (X, W[..., :2]), {}),
    ("kernel: expected a positive even number, got 3", ref.symmetric_conv2d, (X, W), {}),
    ("stride: expected at least 1, got 0", ref.symmetric_conv2d, (X, W[..., :2, :2]), {"stride": 0}),
    ("x: expected rank 2 or more (batch, channels, ...), got shape (4,)", ref.crelu, (np.ones(4),), {}),
    ("x: expected rank 2 or more (batch, channels, ...), got shape ()", ref.neg_concat, (1.0,), {}),
    ("scale: expected shape (8,), got (4,)", ref.scaled_crelu, (X, np.ones(4), np.ones(8)), {}),
    ("shift: expected shape (8,), got (1,)", ref.scaled_crelu, (X, np.ones(8), np.ones(1)), {}),
    (
        "mean: expected shape (4,), got (3,)",
        ref.batch_norm,
        (X, *[np.ones(4)] * 2, np.ones(3), np.ones(4)),
        {},
    ),
    ("var: expected var + eps above 0", ref.batch_norm, (X, *[np.ones(4)] * 3, -np.ones(4)), {}),
]


@pytest.mark.parametrize(("message", "function", "arguments", "options"), REFUSALS)
def test_refusals(
    message: str, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        function(*arguments, **options)
    assert message in str(error.value)


def brute_force(x: np.ndarray, weight: np.ndarray, pads: Sequence[int], stride: int, dilation: int) -> np.ndarray:
    """A rectified convolution, tap by tap from its definition, for one row and any number of axes."""
    axes = weight.ndim - 2
    size, kernel = x.shape[2:], weight.shape[2:]
    out = [(size[a] + pads[a] + pads[axes + a] - dilation * (kernel[a] - 1) - 1) // stride + 1 for a in range(axes)]
    y = np.zeros((1, len(weight), *out))
    for place in np.ndindex(*out):
        total, taps = np.zeros(len(weight)), 0
        for tap in np.ndindex(*kernel):
            at = [place[a] * stride - pads[a] + tap[a] * dilation for a in range(axes)]
            if all(0 <= at[a] < size[a] for a in range(axes)):
                total += weight[(slice(None), slice(None), *tap)] @ x[(0, slice(None), *at)]
                taps += 1
        y[(0, slice(None), *place)] = total * weight[0, 0].size / taps if taps else 0
    return y


@pytest.mark.parametrize(
    ("size", "kernel", "pads", "stride", "dilation"),
    [
        ((7,), (3,), (2, 1), 2, 2),
        ((5,), (2,), (4, 0), 1, 1),
        ((3, 4, 5), (2, 3, 3), (1, 0, 2, 1, 2, 0), 2, 1),
        ((2, 3, 3), (3, 1, 2), (1, 1, 1, 1, 0, 1), 1, 1),
    ],
)
def test_rectification_along_one_and_three_axes(size, kernel, pads, stride, dilation) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(1, 3, *size)), rng.normal(size=(2, 3, *kernel)), rng.normal(size=2)
    count = len(size)
    window = ((stride,) * count, pads, (dilation,) * count)
    expected = brute_force(x, weight, pads, stride, dilation)
    column = bias.reshape(-1, *(1,) * count)
    close(ref.rectified_conv(x, weight, bias, *window), expected + column)
    r = ref.rectification_factors(size, kernel, *window)
    close(ref.rectified_conv(x, weight, bias, *window, bias_mode="inside"), expected + r * column)
    average = ref.rectified_conv(x, weight, bias, *window, mode="average", empty="zero")
    close(average, expected / np.prod(kernel) + column * (r > 0))


def test_the_planes_are_the_same_operator() -> None:
    rng = np.random.default_rng(1)
    x, weight, bias = rng.normal(size=(2, 4, 5, 6)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    window: tuple[Any, ...] = ((2, 1), (1, 2, 0, 1), (1, 2), 2)
    for options in ({}, {"mode": "average", "bias_mode": "inside"}):
        close(
            ref.rectified_conv(x, weight, bias, *window, **options),
            ref.rectified_conv2d(x, weight, bias, *window, **options),
        )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bias_mode", ["after", "inside"])
def test_masked_convolution_tap_by_tap(channels: int, bias_mode: Any) -> None:
    rng = np.random.default_rng(2)
    x, weight, bias = rng.normal(size=(1, 2, 5, 4)), rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3)
    mask = (rng.random((1, channels, 5, 4)) > 0.7).astype(float)
    mask[..., 3:, :] = 0
    y, known = ref.masked_conv(x, mask, weight, bias, (1, 2), (1, 0, 1, 1), bias_mode=bias_mode)
    everywhere = np.broadcast_to(mask, x.shape)
    assert (known == 0).any() and (known == 1).any() and known.shape == (1, 1, *y.shape[2:])
    for row, column in np.ndindex(y.shape[2:]):
        total, taps = np.zeros(3), 0.0
        for i, j in np.ndindex(3, 2):
            at = (row - 1 + i, 2 * column + j)
            if 0 <= at[0] < 5 and 0 <= at[1] < 4:
                total += weight[:, :, i, j] @ (x[(0, slice(None), *at)] * everywhere[(0, slice(None), *at)])
                taps += mask[(0, slice(None), *at)].sum()
        ratio = channels * 6 / taps if taps else 0
        expected = (total + bias) * ratio if bias_mode == "inside" else total * ratio + bias * (taps > 0)
        close(y[0, :, row, column], expected)
        assert known[0, 0, row, column] == min(taps, 1)


def test_a_mask_of_ones_rectifies_and_one_of_zeros_gives_zeros() -> None:
    rng = np.random.default_rng(3)
    x, weight, bias = rng.normal(size=(2, 2, 5, 4)), rng.normal(size=(3, 2, 1, 3)), rng.normal(size=3)
    window: tuple[Any, ...] = ((1, 1), (1, 2, 0, 1), (1, 1))
    expected = ref.rectified_conv2d(x, weight, bias, *window, empty="zero")
    for channels, numerator in ((1, None), (2, None), (2, 6)):
        mask = np.ones((2, channels, 5, 4))
        y, known = ref.masked_conv(x, mask, weight, bias, *window, numerator=numerator)
        close(y, expected)
        y, known = ref.masked_conv(x, 0 * mask, weight, bias, *window, numerator=numerator)
        assert not y.any() and not known.any()


def test_a_mask_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask: expected 1 or 2 channels and sizes \(5, 4\), got shape"):
        ref.masked_conv(np.zeros((1, 2, 5, 4)), np.zeros((1, 3, 5, 4)), np.zeros((1, 2, 3, 3)))
