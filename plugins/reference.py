"""The operators in plain NumPy: the definition that every other implementation is compared with.

Data is NCHW, weights are OIHW, every input is converted to float64 and every result is float64 (tap counts
are int64). The code is written to be checked, not to be fast. `pads` is in ONNX order: top, left, bottom, right.

Papers followed:
- rectified convolution: "Rectified convolution", eqs. (1)-(6), with its `<= H` read as `< H`;
- symmetric padding: "Convolution with even-sized kernels and symmetric padding" and the repositories named at
  `SYMMETRIC_ORDERS`;
- boundary padding: the published modules and the PyTorch and NumPy modes named at `BORDERS`;
- CReLU and AVR: "Understanding and improving CNNs via concatenated rectified linear units"; PVANet for the
  scaled form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Mode = Literal["sum", "average"]
BiasMode = Literal["after", "inside"]
Empty = Literal["bias", "zero"]
Remainder = Literal["first", "last", "error"]
Corner = Literal["BR", "TL", "BL", "TR"]
Border = Literal["zeros", "circular", "reflect", "replicate", "symmetric", "poles", "pole_points"]
Axis = tuple[int, int, int, int, int, int]  # size, kernel, stride, pad before, pad after, dilation

SYMMETRIC_ORDERS: dict[str, tuple[Corner, Corner, Corner, Corner]] = {
    "wu": ("BR", "TL", "BL", "TR"),  # boluoweifenda/CNN, source/nets/resnet50_c2sp.py
    "wu_poster": ("BR", "BL", "TR", "TL"),  # the same authors' poster
    "elnas": ("TL", "TR", "BL", "BR"),  # jamiejyhu/EL-NAS, cnn/module/Spconv2d.py
    "symmetricpad2d": ("TL", "BL", "TR", "BR"),  # the widely copied PyTorch SymmetricPad2d
}
"""The corner that gets the extra padding in channel groups 0..3, by name of the published order."""

BORDERS: tuple[Border, ...] = (
    "zeros",  # 0
    "circular",  # the opposite side: torch "circular", NumPy "wrap"
    "reflect",  # mirrored at the last element, which is not repeated: torch and NumPy "reflect"
    "replicate",  # the last element: torch "replicate", NumPy "edge"
    "symmetric",  # mirrored at the side, the last element repeated: NumPy "symmetric"
    "poles",  # symmetric, and half way around the last axis: rows of a globe between which the poles lie
    "pole_points",  # reflect, and half way around the last axis: rows of a globe of which the outermost are the poles
)
"""What may stand beyond the border of an axis."""


# Checks


def _array(name: str, value: ArrayLike, rank: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != rank:
        raise ValueError(f"{name}: expected rank {rank}, got shape {array.shape}")
    return array


def _vector(name: str, value: ArrayLike, length: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected shape ({length},), got {array.shape}")
    return array


def _feature_map(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim < 2:
        raise ValueError(f"{name}: expected rank 2 or more (batch, channels, ...), got shape {array.shape}")
    return array


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def _check_length(name: str, values: Sequence[int], length: int) -> None:
    if len(values) != length:
        raise ValueError(f"{name}: expected {length} integers, got {tuple(values)}")


def _check_groups(channels: int, weight_shape: tuple[int, ...], groups: int) -> None:
    _check_at_least("groups", groups, 1)
    outputs, inputs = weight_shape[:2]
    if outputs % groups:
        raise ValueError(f"weight: expected output channels divisible by groups {groups}, got {outputs}")
    if channels != inputs * groups:
        raise ValueError(f"x: expected {inputs} * {groups} = {inputs * groups} channels, got {channels}")


# Windows


def _per_axis(
    spatial: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> list[Axis]:
    """Regroup a window's attributes by axis."""
    count = len(spatial)
    _check_length("kernel_shape", kernel_shape, count)
    _check_length("strides", strides, count)
    _check_length("pads", pads, 2 * count)
    _check_length("dilations", dilations, count)
    return list(zip(spatial, kernel_shape, strides, pads[:count], pads[count:], dilations, strict=True))


def _window_starts(size: int, kernel: int, stride: int, pad_before: int, pad_after: int, dilation: int) -> range:
    """The input index that each output's first tap reads; an index outside [0, size) is padding."""
    for name, value in (("size", size), ("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        _check_at_least(name, value, 1)
    for name, value in (("pad_before", pad_before), ("pad_after", pad_after)):
        _check_at_least(name, value, 0)
    reach = (kernel - 1) * dilation  # from a window's first tap to its last
    starts = range(-pad_before, size + pad_after - reach, stride)
    if not starts:
        padded = pad_before + size + pad_after
        raise ValueError(f"padded size: expected at least {reach + 1}, the window's extent, got {padded}")
    return starts


# Convolution and rectified convolution


def valid_taps(size: int, kernel: int, stride: int, pad_before: int, pad_after: int, dilation: int) -> Counts:
    """Count the kernel taps of each output that land inside the input, along one axis.

    The sum in eq. (5) for one axis: tap i of output h reads index h * stride - pad_before + i * dilation and
    is valid when 0 <= index < size.

    Returns int64 [out].
    Raises ValueError when size, kernel, stride or dilation is below 1, a pad is negative, or the window is
    larger than the padded input.
    """
    starts = _window_starts(size, kernel, stride, pad_before, pad_after, dilation)
    counts = np.zeros(len(starts), dtype=np.int64)
    for out, start in enumerate(starts):
        for tap in range(kernel):
            if 0 <= start + tap * dilation < size:
                counts[out] += 1
    return counts


def rectification_map(
    height: int,
    width: int,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    mode: Mode = "sum",
) -> Array:
    """The factor r of a rectified convolution with an m x n kernel over a height x width input.

    sum: r = m * n / v, eq. (4). average: r = 1 / v, eq. (6). v is the count of eq. (5); r = 0 where v = 0.

    Returns float64 [H_out, W_out].
    Raises ValueError for an unknown mode, an attribute of the wrong length, or whatever `valid_taps` refuses.
    """
    return rectification_factors((height, width), kernel_shape, strides, pads, dilations, mode)


def rectification_factors(
    size: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    mode: Mode = "sum",
) -> Array:
    """`rectification_map` over an input with any number of axes: v is the product of one count for each axis.

    strides, pads (begins, then ends) and dilations default to 1, 0 and 1. Returns float64, one size for each of `size`.
    """
    _check_choice("mode", mode, ("sum", "average"))
    ones = (1,) * len(size)
    valid = np.ones((), dtype=np.int64)
    for axis in _per_axis(size, kernel_shape, strides or ones, pads or (0,) * 2 * len(size), dilations or ones):
        # A tap is valid when its index is, along every axis.
        valid = np.multiply.outer(valid, valid_taps(*axis))
    numerator = int(np.prod(kernel_shape)) if mode == "sum" else 1
    rectification = np.zeros(valid.shape, dtype=np.float64)
    rectification[valid > 0] = numerator / valid[valid > 0]
    return rectification


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Array:
    """Zero-padded cross-correlation, as ONNX Conv and torch conv2d.

    y[n, o, h, w] = b[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c, row, column], where
    row = h * stride - top + i * dilation, column = w * stride - left + j * dilation, c runs over the input
    channels of o's group and x is 0 outside [0, H) x [0, W): eqs. (1)-(3).

    x [N, C, H, W], weight [O, C / groups, m, n], bias [O]. Returns float64 [N, O, H_out, W_out].
    Raises ValueError for a wrong rank, channel count, bias shape or attribute length, for O not divisible by
    groups, and for whatever `valid_taps` refuses.
    """
    x = _array("x", x, 4)
    weight = _array("weight", weight, 4)
    _check_groups(x.shape[1], weight.shape, groups)
    bias = np.zeros(weight.shape[0]) if bias is None else _vector("bias", bias, weight.shape[0])
    vertical, horizontal = _per_axis(x.shape[2:], weight.shape[2:], strides, pads, dilations)
    row_starts, column_starts = _window_starts(*vertical), _window_starts(*horizontal)
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))

    outputs, inputs, m, n = weight.shape
    y = np.zeros((x.shape[0], outputs, len(row_starts), len(column_starts)))
    for group in range(groups):
        group_in = slice(group * inputs, (group + 1) * inputs)
        group_out = slice(group * outputs // groups, (group + 1) * outputs // groups)
        for i, j in np.ndindex(m, n):
            rows = [start + top + i * dilations[0] for start in row_starts]
            columns = [start + left + j * dilations[1] for start in column_starts]
            read = padded[:, group_in][:, :, rows][:, :, :, columns]
            y[:, group_out] += np.einsum("nchw,oc->nohw", read, weight[group_out, :, i, j], optimize=True)
    return y + bias[:, None, None]


def rectify(
    y: ArrayLike,
    x_shape: Sequence[int],
    bias: ArrayLike | None,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    mode: Mode = "sum",
    empty: Empty = "bias",
) -> Array:
    """Rectify the output of a convolution: r * y + bias * m.

    r is `rectification_factors` of the convolution that made y. m is 1 everywhere for empty="bias" and [v > 0]
    for empty="zero".

    y [N, C, ...]; x_shape is the shape of the convolution's input, of which only the sizes behind the channels matter;
    bias [C], or None for zeros. Returns float64 of y's shape.
    Raises ValueError for an unknown mode or empty, a wrong rank, bias shape or attribute length, for y whose
    sizes the convolution does not produce, and for whatever `valid_taps` refuses.
    """
    _check_choice("empty", empty, ("bias", "zero"))
    _check_length("x_shape", x_shape, len(kernel_shape) + 2)
    y = _array("y", y, len(kernel_shape) + 2)
    bias = np.zeros(y.shape[1]) if bias is None else _vector("bias", bias, y.shape[1])
    r = rectification_factors(x_shape[2:], kernel_shape, strides, pads, dilations, mode)
    if y.shape[2:] != r.shape:
        raise ValueError(f"y: expected height and width {r.shape}, got shape {y.shape}")
    m = np.where(r > 0, 1.0, 0.0) if empty == "zero" else np.ones(r.shape)
    return r * y + bias.reshape(-1, *(1,) * r.ndim) * m


def rectified_conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    mode: Mode = "sum",
    bias_mode: BiasMode = "after",
    empty: Empty = "bias",
) -> Array:
    """`rectified_conv2d` along one, two or three axes.

    x [N, C, ...], weight [O, C / groups, ...], bias [O]. Returns float64 [N, O, ...].
    """
    _check_choice("bias_mode", bias_mode, ("after", "inside"))
    inner, outer = (bias, None) if bias_mode == "inside" else (None, bias)
    kernel = np.shape(weight)[2:]
    padded = np.asarray(x, dtype=np.float64)
    if pads:
        sides = list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))
        padded = np.pad(padded, ((0, 0), (0, 0), *sides))
    y = convolution(padded, weight, inner, strides, dilations, groups)
    return rectify(y, np.shape(x), outer, kernel, strides, pads, dilations, mode, empty)


def rectified_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    mode: Mode = "sum",
    bias_mode: BiasMode = "after",
    empty: Empty = "bias",
) -> Array:
    """Rectified convolution: eq. (4) for mode="sum", eq. (6) for mode="average".

    after:  y = r * conv(x) + b, with b replaced by 0 where v = 0 for empty="zero". The paper's equation;
            with empty="zero" also NVIDIA/partialconv `PartialConv2d` without a mask, but for its epsilon.
    inside: y = r * (conv(x) + b), which is 0 where v = 0 for either value of empty. zhanghang1989/RFConv
            `RFConv2d`.

    x [N, C, H, W], weight [O, C / groups, m, n], bias [O]. Returns float64 [N, O, H_out, W_out].
    Raises ValueError for an unknown mode, bias_mode or empty, and for whatever `conv2d` refuses.
    """
    _check_choice("bias_mode", bias_mode, ("after", "inside"))
    inner, outer = (bias, None) if bias_mode == "inside" else (None, bias)
    y = conv2d(x, weight, inner, strides, pads, dilations, groups)
    return rectify(y, np.shape(x), outer, np.shape(weight)[2:], strides, pads, dilations, mode, empty)


# Even kernels with symmetric padding


def group_sizes(channels: int, remainder: Remainder = "first") -> tuple[int, int, int, int]:
    """Channels in each of the four contiguous groups of a symmetric padding.

    first: the first channels % 4 groups get one channel more (boluoweifenda/CNN).
    last:  every group gets channels // 4 and the last one also the rest (SymmetricPad2d).
    error: only a multiple of 4 is accepted (EL-NAS).
    With fewer than 4 channels some groups are empty.

    Raises ValueError for channels below 1, an unknown remainder, or remainder="error" and channels % 4 != 0.
    """
    _check_at_least("channels", channels, 1)
    _check_choice("remainder", remainder, ("first", "last", "error"))
    share, rest = divmod(channels, 4)
    if rest == 0:
        return share, share, share, share
    if remainder == "error":
        raise ValueError(f"channels: expected a multiple of 4, got {channels}")
    if remainder == "last":
        return share, share, share, share + rest
    return share + (rest > 0), share + (rest > 1), share + (rest > 2), share


def symmetric_pad(x: ArrayLike, kernel: int = 2, order: str = "wu", remainder: Remainder = "first") -> Array:
    """Zero-pad each of four channel groups towards its own corner, for an unpadded even-kernel convolution.

    Every group gets kernel / 2 - 1 on every side plus 1 on the two sides of its corner, which
    `SYMMETRIC_ORDERS[order]` names: 0 and 1 for C2sp, 1 and 2 for C4sp.

    x [N, C, H, W]. Returns float64 [N, C, H + kernel - 1, W + kernel - 1].
    Raises ValueError for a wrong rank, a kernel that is not a positive even number, an unknown order, and for
    whatever `group_sizes` refuses.
    """
    x = _array("x", x, 4)
    if kernel < 2 or kernel % 2:
        raise ValueError(f"kernel: expected a positive even number, got {kernel}")
    _check_choice("order", order, tuple(SYMMETRIC_ORDERS))
    small = kernel // 2 - 1
    padded_groups = []
    first = 0
    for size, corner in zip(group_sizes(x.shape[1], remainder), SYMMETRIC_ORDERS[order], strict=True):
        top, bottom = (small, small + 1) if corner in ("BR", "BL") else (small + 1, small)
        left, right = (small, small + 1) if corner in ("BR", "TR") else (small + 1, small)
        group = x[:, first : first + size]
        padded_groups.append(np.pad(group, ((0, 0), (0, 0), (top, bottom), (left, right))))
        first += size
    return np.concatenate(padded_groups, axis=1)


def symmetric_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    groups: int = 1,
    order: str = "wu",
    remainder: Remainder = "first",
) -> Array:
    """C2sp (k = 2) and C4sp (k = 4): `symmetric_pad`, then an unpadded convolution over all channels.

    With stride s the result is the stride-1 result sampled at 0, s, 2s, ... on both axes. `groups` is that of
    the convolution; the four padding groups are always those of all C input channels.

    x [N, C, H, W], weight [O, C / groups, k, k], bias [O].
    Returns float64 [N, O, (H - 1) // stride + 1, (W - 1) // stride + 1].
    Raises ValueError for a kernel that is not square and even, a stride below 1, and for whatever
    `symmetric_pad` or `conv2d` refuses.
    """
    weight = _array("weight", weight, 4)
    if weight.shape[2] != weight.shape[3]:
        raise ValueError(f"weight: expected a square kernel, got shape {weight.shape}")
    _check_at_least("stride", stride, 1)
    padded = symmetric_pad(x, weight.shape[2], order, remainder)
    return conv2d(padded, weight, bias, groups=groups)[:, :, ::stride, ::stride]


# Convolution with a border of any kind


def source(place: int, size: int, border: Border) -> int | None:
    """The index that stands at `place`, which may lie outside [0, size), of an axis; None for a zero.

    Raises ValueError for a place that is farther outside than the border reaches: by `size` elements, and by one
    less where the last element is not repeated (reflect, pole_points). zeros and replicate reach any distance.
    """
    _check_choice("border", border, BORDERS)
    if 0 <= place < size:
        return place
    if border == "zeros":
        return None
    if border == "replicate":
        return 0 if place < 0 else size - 1
    repeated = 0 if border in ("reflect", "pole_points") else 1
    outside = -place if place < 0 else place - size + 1  # 1 for the nearest
    if outside > (size if border == "circular" else size - 1 + repeated):
        raise ValueError(f"pads: {border} reaches no {outside} elements beyond an axis of {size}")
    if border == "circular":
        return place + size if place < 0 else place - size
    return outside - repeated if place < 0 else size - 1 - (outside - repeated)


def boundary_pad(x: ArrayLike, pads: Sequence[int], borders: Sequence[Border]) -> Array:
    """Extend the last axes of x, each with a border of its own kind.

    y[..., i] = x[..., source(i - begin)] along each axis. Rows of a pole border are those of x turned by half of its
    last axis: column j reads column (j - W // 2) mod W. That axis is extended after the rows.

    x [N, C, ...]; borders, one for each of the last axes (1, 2 or 3); pads, their begins and then their ends.
    Returns float64, sizes larger by the pads. Raises ValueError for a wrong rank or length, a negative pad, a pole
    border anywhere but on the axis before the last, and for whatever `source` refuses.

    Sources: torch.nn.functional.pad and numpy.pad for the modes; the PeriodicPad2d and GeoCyclicPadding modules of
    weather models for a globe's.
    """
    y, count = _feature_map("x", x), len(borders)
    if y.ndim != count + 2:
        raise ValueError(f"x: expected rank {count + 2}, got shape {y.shape}")
    _check_length("pads", pads, 2 * count)
    for index, border in enumerate(borders):
        begin, end, size = pads[index], pads[count + index], y.shape[2 + index]
        _check_at_least("pads", min(begin, end), 0)
        turns = border in ("poles", "pole_points")
        if turns and index != count - 2:
            raise ValueError(f"borders: {border} belongs to the axis before the last, got axis {index} of {count}")
        slabs = []
        for place in range(-begin, size + end):
            found = source(place, size, border)
            slab = np.take(y, [found or 0], 2 + index)
            if turns and not 0 <= place < size:
                slab = np.roll(slab, y.shape[-1] // 2, -1)
            slabs.append(np.zeros_like(slab) if found is None else slab)
        y = np.concatenate(slabs, 2 + index)
    return y


def convolution(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Array:
    """Cross-correlation without padding along one, two or three axes.

    x [N, C, ...], weight [O, C / groups, ...], bias [O]; strides and dilations default to 1. Returns float64
    [N, O, ...]. Raises ValueError for what `conv2d` refuses.
    """
    weight = _feature_map("weight", weight)
    x, count = _array("x", x, weight.ndim), weight.ndim - 2
    _check_groups(x.shape[1], weight.shape, groups)
    bias = np.zeros(weight.shape[0]) if bias is None else _vector("bias", bias, weight.shape[0])
    strides, dilations = strides or (1,) * count, dilations or (1,) * count
    sizes = zip(x.shape[2:], weight.shape[2:], strides, dilations, strict=True)
    starts = [_window_starts(size, kernel, stride, 0, 0, dilation) for size, kernel, stride, dilation in sizes]
    outputs, inputs = weight.shape[:2]
    y = np.zeros((x.shape[0], outputs, *map(len, starts)))
    for group in range(groups):
        group_in = slice(group * inputs, (group + 1) * inputs)
        group_out = slice(group * outputs // groups, (group + 1) * outputs // groups)
        for tap in np.ndindex(*weight.shape[2:]):
            read, taken = x[:, group_in], weight[group_out]
            for axis, offset in enumerate(tap):
                read = np.take(read, [start + offset * dilations[axis] for start in starts[axis]], 2 + axis)
                taken = np.take(taken, offset, 2)
            y[:, group_out] += np.einsum("nc...,oc->no...", read, taken, optimize=True)
    return y + bias.reshape(-1, *(1,) * count)


def boundary_conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] = (),
    borders: Sequence[Border] = (),
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Array:
    """`boundary_pad`, then `convolution`: what torch.nn.Conv1d, 2d and 3d compute for a padding_mode."""
    return convolution(boundary_pad(x, pads, borders), weight, bias, strides, dilations, groups)


# Masked partial convolution


def masked_count(
    mask: ArrayLike,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> Array:
    """u: the sum of the mask over each window and over its channels; nothing lies beyond the border.

    mask [N, M, ...], 1 where a value is known and 0 in a hole. Returns float64 [N, 1, ...]. Raises ValueError for what
    `convolution` refuses.
    """
    mask, axes = _feature_map("mask", mask), len(kernel_shape)
    if pads:
        mask = np.pad(mask, ((0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)))
    ones = np.ones((1, mask.shape[1], *kernel_shape))
    return convolution(mask, ones, None, strides, dilations)


def masked_conv(
    x: ArrayLike,
    mask: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    numerator: int | None = None,
    bias_mode: BiasMode = "after",
) -> tuple[Array, Array]:
    """Masked partial convolution: a convolution over known values only, and where its results are known.

    with u = masked_count(mask):
    after:  y = conv(x * mask) * numerator / u + b where u > 0, else 0
    inside: y = (conv(x * mask) + b) * numerator / u where u > 0, else 0
    The next mask is min(u, 1), one channel of it.

    x [N, C, ...]; mask [N, 1 or C, ...] of zeros and ones; weight [O, C / groups, ...], bias [O]. numerator is by
    default the number of mask values under a window: mask channels times taps. Returns float64 [N, O, ...] and
    [N, 1, ...]. A mask of ones gives a rectified convolution with empty="zero". Raises ValueError for what
    `masked_count` and `convolution` refuse.

    Sources: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.), eqs. (1) and (2);
    NVIDIA/partialconv, with one mask channel or multi_channel; naoto0804/pytorch-inpainting-with-partial-conv, whose
    numerator is 1.
    """
    _check_choice("bias_mode", bias_mode, ("after", "inside"))
    x, mask, weight = _feature_map("x", x), _feature_map("mask", mask), _feature_map("weight", weight)
    if mask.shape[1] not in (1, x.shape[1]) or mask.shape[2:] != x.shape[2:]:
        raise ValueError(f"mask: expected 1 or {x.shape[1]} channels and sizes {x.shape[2:]}, got shape {mask.shape}")
    kernel = weight.shape[2:]
    u = masked_count(mask, kernel, strides, pads, dilations)
    known = x * mask
    if pads:
        known = np.pad(known, ((0, 0), (0, 0), *zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)))
    inner, outer = (bias, None) if bias_mode == "inside" else (None, bias)
    y = convolution(known, weight, inner, strides, dilations, groups)
    slide = mask.shape[1] * int(np.prod(kernel)) if numerator is None else numerator
    ratio = np.where(u > 0, slide / np.where(u > 0, u, 1.0), 0.0)
    shift = np.zeros(len(weight)) if outer is None else _vector("bias", outer, len(weight))
    return y * ratio + shift.reshape(-1, *(1,) * len(kernel)) * (u > 0), np.minimum(u, 1.0)


# Activations and batch normalization


def relu(x: ArrayLike) -> Array:
    """max(0, x), elementwise. Any shape; returns float64 of the same shape."""
    return np.maximum(np.asarray(x, dtype=np.float64), 0.0)


def neg_concat(x: ArrayLike) -> Array:
    """concat(x, -x) on the channel axis: all channels, then all their negatives.

    x [N, C, ...]. Returns float64 [N, 2C, ...]. Raises ValueError for a rank below 2.
    """
    x = _feature_map("x", x)
    return np.concatenate([x, -x], axis=1)


def crelu(x: ArrayLike, activation: Callable[[Array], Array] = relu) -> Array:
    """CReLU: concat(act(x), act(-x)) on the channel axis, all positive halves first.

    x [N, C, ...]; activation maps float64 arrays elementwise. Returns float64 [N, 2C, ...].
    Raises ValueError for a rank below 2.
    """
    x = _feature_map("x", x)
    return np.concatenate([activation(x), activation(-x)], axis=1)


def avr(x: ArrayLike) -> Array:
    """AVR: max(0, x) + max(0, -x) = |x|, elementwise. Any shape; returns float64 of the same shape."""
    return np.abs(np.asarray(x, dtype=np.float64))


def scaled_crelu(x: ArrayLike, scale: ArrayLike, shift: ArrayLike) -> Array:
    """PVANet's CReLU (sanghoon/pva-faster-rcnn): relu(concat(x, -x) * scale + shift), per channel.

    x [N, C, ...], scale [2C], shift [2C]. Returns float64 [N, 2C, ...].
    Raises ValueError for a rank below 2 or a scale or shift of another shape.
    """
    doubled = neg_concat(x)
    channels = doubled.shape[1]
    per_channel = (channels,) + (1,) * (doubled.ndim - 2)
    scale = _vector("scale", scale, channels).reshape(per_channel)
    shift = _vector("shift", shift, channels).reshape(per_channel)
    return relu(doubled * scale + shift)


def batch_norm(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike, mean: ArrayLike, var: ArrayLike, eps: float = 1e-5
) -> Array:
    """Inference-time batch normalization: (x - mean) / sqrt(var + eps) * weight + bias, per channel.

    x [N, C, ...]; weight, bias, mean and var [C]. Returns float64 of x's shape.
    Raises ValueError for a rank below 2, a parameter of another shape, or var + eps not above 0 everywhere.
    """
    x = _feature_map("x", x)
    channels = x.shape[1]
    per_channel = (channels,) + (1,) * (x.ndim - 2)
    weight = _vector("weight", weight, channels).reshape(per_channel)
    bias = _vector("bias", bias, channels).reshape(per_channel)
    mean = _vector("mean", mean, channels).reshape(per_channel)
    var = _vector("var", var, channels).reshape(per_channel)
    if not np.all(var + eps > 0):
        raise ValueError(f"var: expected var + eps above 0 everywhere, got a minimum of {np.min(var + eps)}")
    return (x - mean) / np.sqrt(var + eps) * weight + bias
