"""Masked partial convolution, as a function and as modules: a convolution over known values only.

Source: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.); NVIDIA/partialconv.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.layers import ops
from rectexport.models.layers.geometry import BIAS_MODES, Padding, Window, one_of, per_axis, resolve_padding

#: What a window's sum is divided into: the mask values under a window, 1, or taps times the input channels of a group.
NUMERATORS = ("mask", "one", "channels")
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def masked_conv(
    x: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    numerator: str = "mask",
    bias_mode: str = "after",
) -> tuple[Tensor, Tensor]:
    """Convolution along one, two or three axes over known values only, and where its results are known.

    x [N, C_in, …]; mask [N or 1, 1 or C_in, …] of zeros and ones; weight [C_out, C_in/groups, …], bias [C_out]
    -> y [N, C_out, …] and the next mask [N or 1, 1, …]. With u, the sum of the mask under a window, y is
    conv(x * mask) * numerator / u + bias where u > 0, and 0 elsewhere. numerator "mask" is the number of mask values
    under a window (mask channels times taps), "one" is 1, "channels" taps times the input channels of a group.
    bias_mode "inside" scales the bias too. padding as in `rectexport.models.layers.geometry.resolve_padding`.
    Raises ValueError for unknown options and a mask of other sizes.
    """
    one_of(numerator, NUMERATORS, "numerator"), one_of(bias_mode, BIAS_MODES, "bias_mode")
    count, kernel = weight.dim() - 2, tuple(weight.shape[2:])
    if mask.dim() != x.dim() or mask.shape[1] not in (1, x.shape[1]):
        raise ValueError(
            f"mask: expected shape (N, 1 or {x.shape[1]}, sizes of the input), got {tuple(mask.shape)} "
            f"for an input of {tuple(x.shape)}"
        )
    stride, dilation = per_axis(stride, count, "stride"), per_axis(dilation, count, "dilation")
    window = Window(kernel, stride, resolve_padding(padding, kernel, stride, dilation), dilation)
    mask = mask.to(x.dtype)
    known = F.pad(x * mask, _amounts(window.pads)) if window.pads[:count] != window.pads[count:] else x * mask
    around = 0 if known.shape[2:] != x.shape[2:] else window.pads[:count]
    inside = bias if bias_mode == "inside" else None
    y = _CONVOLUTIONS[count](known, weight, inside, stride, around, dilation, groups)
    taps = {"mask": int(mask.shape[1]) * prod(kernel), "one": 1, "channels": int(weight.shape[1]) * prod(kernel)}
    u = _count(mask if mask.shape[1] == 1 else mask.sum(1, keepdim=True), window)
    return _scale(y, u, bias if bias_mode == "after" else None, taps[numerator]), u.clamp(max=1).to(x.dtype)


def _amounts(pads: Sequence[int]) -> list[int]:
    """Pads in the order of torch.nn.functional.pad."""
    count = len(pads) // 2
    return [pad for axis in reversed(range(count)) for pad in (pads[axis], pads[count + axis])]


def _count(mask: Tensor, window: Window) -> Tensor:
    if torch.compiler.is_exporting():
        return torch.ops.rectexport.masked_count(mask, window.kernel, window.stride, window.pads, window.dilation)
    with torch.no_grad():
        return ops.count_known(mask, window.kernel, window.stride, window.pads, window.dilation)


def _scale(y: Tensor, u: Tensor, bias: Tensor | None, numerator: int) -> Tensor:
    if torch.compiler.is_exporting():
        shift = y.new_zeros(y.shape[1]) if bias is None else bias.to(y.dtype)
        return torch.ops.rectexport.masked_rectify(y, u, shift, numerator)
    return ops.scale_known(y, u, bias, numerator)


class _MaskedConv:
    """What the three modules share; comes before torch's class among their bases."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        multi_channel: bool = False,
        numerator: str = "mask",
        bias_mode: str = "after",
    ) -> None:
        options: dict[str, Any] = {"groups": groups, "bias": bias, "device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, **options)  # type: ignore[call-arg]
        module: Any = self
        self.multi_channel = multi_channel
        self.numerator = one_of(numerator, NUMERATORS, "numerator")
        self.bias_mode = one_of(bias_mode, BIAS_MODES, "bias_mode")
        resolve_padding(padding, module.kernel_size, module.stride, module.dilation)
        count = len(module.kernel_size)
        if isinstance(padding, str):
            module.padding = padding
        else:
            sides = not isinstance(padding, int) and len(padding) == 2 * count
            module.padding = tuple(padding) if sides else per_axis(padding, count, "padding")  # type: ignore[arg-type]

    def forward(self, input: Tensor, mask: Tensor) -> Any:
        """[N, C_in, …] and its mask -> [N, C_out, …] and its mask."""
        module: Any = self
        channels = input.shape[1] if self.multi_channel else 1
        if mask.dim() != input.dim() or mask.shape[1] != channels:
            raise ValueError(f"mask: expected {channels} channels, got shape {tuple(mask.shape)}")
        y, known = masked_conv(
            input,
            mask,
            module.weight,
            module.bias,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            self.numerator,
            self.bias_mode,
        )
        return y, known.expand(-1, module.out_channels, *known.shape[2:]) if self.multi_channel else known

    def extra_repr(self) -> str:
        """torch's text and the options of the mask."""
        text: str = super().extra_repr()  # type: ignore[misc]
        masks = f"multi_channel={self.multi_channel}, numerator={self.numerator}"
        return f"{text}, {masks}, bias_mode={self.bias_mode}"


_TEXT = """A convolution over the known values of its input; takes the input and its mask, and returns both.

    Takes torch.nn.Conv{0}d's arguments, but no padding_mode, and has its state-dict keys. The mask is 1 where a value
    is known and 0 in a hole: [N, 1, …], or with multi_channel one channel for each of the input's. padding may also be
    two ints an axis, in the order of torch.nn.functional.pad. numerator and bias_mode as in
    `rectexport.models.layers.masked.masked_conv`. Raises ValueError for unknown options and a mask of other channels.

    Source: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.), eqs. (1) and (2).
    """


class MaskedConv1d(_MaskedConv, nn.Conv1d):  # type: ignore[misc]  # it takes a mask
    __doc__ = _TEXT.format(1)


class MaskedConv2d(_MaskedConv, nn.Conv2d):  # type: ignore[misc]  # it takes a mask
    __doc__ = _TEXT.format(2)


class MaskedConv3d(_MaskedConv, nn.Conv3d):  # type: ignore[misc]  # it takes a mask
    __doc__ = _TEXT.format(3)


#: All of them, by the number of axes less one.
MASKED = (MaskedConv1d, MaskedConv2d, MaskedConv3d)
