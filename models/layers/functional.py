"""Functional forms of the layers: differentiable, for any dtype, and for eager, compiled and exported code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rectexport.models.layers import ops
from rectexport.models.layers.geometry import (
    BIAS_MODES,
    EMPTY,
    MODES,
    Padding,
    Window,
    one_of,
    per_axis,
    rectification_map,
    resolve_padding,
)
from rectexport.models.layers.symmetry import group_pads, group_sizes

_MAPS: dict[tuple[object, ...], Tensor] = {}
_MAPS_LOCK = Lock()
_MAPS_LIMIT = 512
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def rectified_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    mode: str = "sum",
    bias_mode: str = "after",
    empty: str = "bias",
) -> Tensor:
    """Convolution along one, two or three axes whose every output is scaled by kernel taps over valid taps.

    x [N, C_in, …] or one item [C_in, …], weight [C_out, C_in/groups, …], bias [C_out] -> [N, C_out, …]. v, the valid
    taps, is the product of one count for each axis. mode "sum" is eq. (4) of Rectified Convolution (r = taps/v),
    "average" its eq. (6) (r = 1/v). bias_mode "after" adds the bias to the rectified sum (NVIDIA partialconv),
    "inside" rectifies it too (zhanghang1989/RFConv). Where no tap is valid r is 0, and empty chooses between the bias
    (only in mode "after") and zero. padding as in `resolve_padding`. Raises ValueError for unknown options.
    """
    one_of(mode, MODES, "mode"), one_of(bias_mode, BIAS_MODES, "bias_mode"), one_of(empty, EMPTY, "empty")
    kernel, count = tuple(weight.shape[2:]), weight.dim() - 2
    if x.dim() == count + 1:
        options = (stride, padding, dilation, groups, mode, bias_mode, empty)
        return rectified_conv(x[None], weight, bias, *options)[0]
    stride, dilation = per_axis(stride, count, "stride"), per_axis(dilation, count, "dilation")
    window = Window(kernel, stride, resolve_padding(padding, kernel, stride, dilation), dilation)
    inside = bias if bias_mode == "inside" else None
    after = bias if bias_mode == "after" else None
    if mode == "sum" and not any(window.pads):
        return _CONVOLUTIONS[count](x, weight, bias, stride, 0, dilation, groups)
    y = _convolved(x, weight, inside, window, groups)
    return rectify(y, x, after, window, mode, empty)


def rectified_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *options: Any, **named: Any) -> Tensor:
    """`rectified_conv` along two axes: x [N, C_in, H, W] or one image."""
    return rectified_conv(x, weight, bias, *options, **named)


def rectify(y: Tensor, x: Tensor, bias: Tensor | None, window: Window, mode: str, empty: str) -> Tensor:
    """r * y + bias for y, the convolution of x over `window`; y may be overwritten."""
    if torch.compiler.is_exporting():
        shift = y.new_zeros(y.shape[1]) if bias is None else bias.to(y.dtype)
        return torch.ops.rectexport.rectify(
            y, x, shift, window.kernel, window.stride, window.pads, window.dilation, mode, empty
        )
    size, dtype = tuple(x.shape[2:]), ops.map_dtype(y.dtype)
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(y) is not Tensor:
        factors = rectification_map(size, window, mode, dtype, y.device)
        return ops.scale_and_shift(y, factors, bias, empty)
    factors = _cached_map(size, window, mode, dtype, y.device)
    if bias is None:
        return y.mul_(factors)
    return ops.scale_and_shift(y, factors, bias, empty)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    count, convolve = len(window.kernel), _CONVOLUTIONS[len(window.kernel)]
    begins, ends = window.pads[:count], window.pads[count:]
    if begins == ends:
        return convolve(x, weight, bias, window.stride, begins, window.dilation, groups)
    amounts = [pad for sides in zip(reversed(begins), reversed(ends), strict=True) for pad in sides]
    return convolve(F.pad(x, amounts), weight, bias, window.stride, 0, window.dilation, groups)


def _cached_map(size: tuple[int, ...], window: Window, mode: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One map for all layers of equal geometry, created outside inference mode so that training can use it too."""
    key = (size, window, mode, dtype, device)
    with _MAPS_LOCK:
        if key in _MAPS:
            return _MAPS[key]
        with torch.inference_mode(False), torch.no_grad():
            factors = rectification_map(size, window, mode, dtype, device)
        if len(_MAPS) >= _MAPS_LIMIT:
            _MAPS.pop(next(iter(_MAPS)))
        _MAPS[key] = factors
        return factors


def symmetric_pad2d(x: Tensor, kernel_size: int = 2, order: str = "wu", remainder: str = "first") -> Tensor:
    """Zero-pad four channel groups, each towards its own corner. x [N, C, H, W] -> [N, C, H+k-1, W+k-1].

    Each group gets k/2 - 1 on every side and 1 more on the two sides of its corner (C2sp: k = 2, C4sp:
    k = 4). order names the corners of groups 0..3 and remainder says which groups take the channels left
    over by a division by four: see rectexport.models.layers.symmetry. Raises ValueError for unknown options.

    Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
    """
    splits, pads = group_sizes(int(x.shape[1]), remainder), group_pads(kernel_size, order)
    if torch.compiler.is_exporting():
        return torch.ops.rectexport.symmetric_pad(x, splits, pads)
    return ops.pad_groups(x, splits, pads)


def symmetric_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    order: str = "wu",
    remainder: str = "first",
) -> Tensor:
    """Even-kernel convolution over symmetric padding.

    x [N, C, H, W], weight [C_out, C/groups, k, k] with k 2 or 4 -> [N, C_out, (H-1)//s + 1, (W-1)//s + 1].
    With a stride s the stride-1 result is sampled at 0, s, 2s, …. order and remainder as in `symmetric_pad2d`.
    Raises ValueError for a kernel that is not square and for unknown options.

    Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
    """
    kernel = tuple(int(size) for size in weight.shape[2:])
    if kernel[0] != kernel[1]:
        raise ValueError(f"weight: expected a square kernel, got {kernel}")
    padded = symmetric_pad2d(x, kernel[0], order, remainder)
    return F.conv2d(padded, weight, bias, stride, 0, 1, groups)


def neg_concat(x: Tensor, dim: int = 1) -> Tensor:
    """concat(x, -x), all positive halves first. [N, C, …] -> [N, 2C, …]."""
    if torch.compiler.is_exporting():
        return torch.ops.rectexport.neg_concat(x, dim)
    return torch.cat((x, -x), dim=dim)


def crelu(x: Tensor, activation: Callable[[Tensor], Tensor] = F.relu, dim: int = 1) -> Tensor:
    """CReLU (Shang et al.): concat(act(x), act(-x)). [N, C, …] -> [N, 2C, …]; activation must work elementwise."""
    if activation is F.relu and torch.compiler.is_exporting():
        return torch.ops.rectexport.crelu(x, dim)
    return activation(neg_concat(x, dim))


def avr(x: Tensor) -> Tensor:
    """AVR (Shang et al.): relu(x) + relu(-x) = |x|. Keeps the shape."""
    return x.abs()


def scaled_crelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(weight * concat(x, -x) + bias) (PVANet's C.ReLU). weight and bias [2C]; keeps x's dtype."""
    doubled = neg_concat(x)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    return torch.addcmul(bias.view(shape), doubled, weight.view(shape)).relu().to(x.dtype)
