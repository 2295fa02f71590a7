"""The dialect's operators as torch custom ops.

While torch.export traces, the layers call these ops, so each of our operators reaches ONNX as one node
instead of its arithmetic, and a saved .pt2 program still computes the right numbers. Eager code does not
use these ops but the differentiable forms in rectexport.models.layers.functional.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rectexport.models.layers.borders import BORDERS, extend
from rectexport.models.layers.geometry import Window, rectification_map


def map_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of r: float32, also for half precision, so that r stays accurate; float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def scale_and_shift(y: Tensor, factors: Tensor, bias: Tensor | None, empty: str) -> Tensor:
    """r * y + b, with b left out where r = 0 when empty is "zero"; keeps y's dtype."""
    if bias is None:
        return (y * factors).to(y.dtype)
    shift = bias.view(1, -1, *(1,) * (y.dim() - 2))
    if empty == "zero":
        return (y * factors + shift * (factors > 0)).to(y.dtype)
    return torch.addcmul(shift, y, factors).to(y.dtype)


@torch.library.custom_op("rectexport::rectify", mutates_args=())
def rectify(
    y: Tensor,
    x: Tensor,
    bias: Tensor,
    kernel_shape: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    mode: str,
    empty: str,
) -> Tensor:
    """Rectify y [N, C, …], a convolution of x [N, C_in, …] along one, two or three axes, and add bias [C]."""
    window = Window(tuple(kernel_shape), tuple(strides), tuple(pads), tuple(dilations))
    factors = rectification_map(x.shape[2:], window, mode, map_dtype(y.dtype), y.device)
    return scale_and_shift(y, factors, bias, empty)


@rectify.register_fake
def _(
    y: Tensor,
    x: Tensor,
    bias: Tensor,
    kernel_shape: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    mode: str,
    empty: str,
) -> Tensor:
    return torch.empty_like(y)


def count_known(
    mask: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The sum of a mask [N, 1, …] over each window, in float32 or float64. [N, 1, …]."""
    count = len(kernel)
    ones = torch.ones((1, 1, *kernel), dtype=map_dtype(mask.dtype), device=mask.device)
    amounts = [pad for axis in reversed(range(count)) for pad in (pads[axis], pads[count + axis])]
    padded = torch.nn.functional.pad(mask.to(ones.dtype), amounts)
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[count - 1]
    return convolve(padded, ones, None, tuple(stride), (0,) * count, tuple(dilation))


def scale_known(y: Tensor, u: Tensor, bias: Tensor | None, numerator: int) -> Tensor:
    """y * numerator / u + bias where u > 0, else 0; keeps y's dtype."""
    known = u > 0
    ratio = torch.where(known, numerator / torch.where(known, u, 1.0), 0.0)
    if bias is None:
        return (y * ratio).to(y.dtype)
    return torch.addcmul(y * ratio, bias.view(1, -1, *(1,) * (y.dim() - 2)).to(u.dtype), known.to(u.dtype)).to(y.dtype)


@torch.library.custom_op("rectexport::masked_count", mutates_args=())
def masked_count(
    mask: Tensor, kernel_shape: list[int], strides: list[int], pads: list[int], dilations: list[int]
) -> Tensor:
    """The sum of a mask [N, 1, …] over each window of a convolution. [N, 1, …], float32 or float64."""
    return count_known(mask, kernel_shape, strides, pads, dilations)


@masked_count.register_fake
def _(mask: Tensor, kernel_shape: list[int], strides: list[int], pads: list[int], dilations: list[int]) -> Tensor:
    window = Window(tuple(kernel_shape), tuple(strides), tuple(pads), tuple(dilations))
    return mask.new_empty((mask.shape[0], 1, *window.output_size(mask.shape[2:])), dtype=map_dtype(mask.dtype))


@torch.library.custom_op("rectexport::masked_rectify", mutates_args=())
def masked_rectify(y: Tensor, u: Tensor, bias: Tensor, numerator: int) -> Tensor:
    """Scale y [N, C, …], a convolution of known values, by numerator / u, add bias [C]; 0 where u [N, 1, …] is 0."""
    return scale_known(y, u, bias, numerator)


@masked_rectify.register_fake
def _(y: Tensor, u: Tensor, bias: Tensor, numerator: int) -> Tensor:
    return torch.empty_like(y)


def pad_groups(x: Tensor, splits: list[int], pads: list[int]) -> Tensor:
    """Zero-pad contiguous channel groups; pads holds (top, left, bottom, right) for each group in turn."""
    padded = []
    for index, group in enumerate(x.split(splits, dim=1)):
        top, left, bottom, right = pads[4 * index : 4 * index + 4]
        padded.append(torch.nn.functional.pad(group, (left, right, top, bottom)))
    return torch.cat(padded, dim=1)


@torch.library.custom_op("rectexport::symmetric_pad", mutates_args=())
def symmetric_pad(x: Tensor, splits: list[int], pads: list[int]) -> Tensor:
    """Pad channel groups of x [N, C, H, W] each towards its own corner; see pad_groups."""
    return pad_groups(x, splits, pads)


@symmetric_pad.register_fake
def _(x: Tensor, splits: list[int], pads: list[int]) -> Tensor:
    batch, channels, height, width = x.shape
    return x.new_empty((batch, channels, height + pads[0] + pads[2], width + pads[1] + pads[3]))


@torch.library.custom_op("rectexport::boundary_pad", mutates_args=())
def boundary_pad(x: Tensor, modes: list[int], pads: list[int]) -> Tensor:
    """Extend the last axes of x [N, C, …], each with the border BORDERS[mode]; see extend."""
    return extend(x, pads, [BORDERS[mode] for mode in modes]).clone()


@boundary_pad.register_fake
def _(x: Tensor, modes: list[int], pads: list[int]) -> Tensor:
    count = len(modes)
    sizes = [size + pads[axis] + pads[count + axis] for axis, size in enumerate(x.shape[2:])]
    return x.new_empty((*x.shape[:2], *sizes))


@torch.library.custom_op("rectexport::crelu", mutates_args=())
def crelu(x: Tensor, axis: int) -> Tensor:
    """concat(relu(x), relu(-x)) along axis."""
    return torch.cat((x, -x), dim=axis).relu()


@torch.library.custom_op("rectexport::neg_concat", mutates_args=())
def neg_concat(x: Tensor, axis: int) -> Tensor:
    """concat(x, -x) along axis."""
    return torch.cat((x, -x), dim=axis)


@crelu.register_fake
@neg_concat.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    return torch.cat((x, x), dim=axis)
