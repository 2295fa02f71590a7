"""Layers of masked partial convolution as others write them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Nvidia(nn.Conv2d):
    """As NVIDIA/partialconv: counts by a convolution of ones; the bias after the scaling. `slide` is its numerator."""

    def __init__(self, *args: Any, multi_channel: bool = False, return_mask: bool = True, slide: int = 0, **kw: Any):
        super().__init__(*args, **kw)
        self.return_mask = return_mask
        channels = (self.out_channels, self.in_channels) if multi_channel else (1, 1)
        self.weight_maskUpdater = torch.ones(*channels, *self.kernel_size)
        self.slide_winsize = slide or self.weight_maskUpdater[0].numel()

    def forward(self, input: Tensor, mask_in: Tensor | None = None) -> Any:
        kernel = self.weight_maskUpdater.to(input.dtype)
        counts = F.conv2d(mask_in, kernel, None, self.stride, self.padding, self.dilation)
        seen = counts.clamp(0, 1)
        ratio = self.slide_winsize / (counts + 1e-8) * seen
        shift = 0 if self.bias is None else self.bias.view(1, -1, 1, 1)
        output = ((super().forward(input * mask_in) - shift) * ratio + shift) * seen
        return (output, seen) if self.return_mask else output


class TwoConvs(nn.Module):
    """As naoto0804/pytorch-inpainting-with-partial-conv: a numerator of 1, masks of all channels."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__()
        self.input_conv = nn.Conv2d(*args, **kw)
        self.mask_conv = nn.Conv2d(*args, **{**kw, "bias": False})
        nn.init.constant_(self.mask_conv.weight, 1.0)

    def forward(self, input: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        output = self.input_conv(input * mask)
        bias = self.input_conv.bias
        shift = torch.zeros_like(output) if bias is None else bias.view(1, -1, 1, 1).expand_as(output)
        with torch.no_grad():
            counts = self.mask_conv(mask)
        holes = counts == 0
        output = (output - shift) / counts.masked_fill(holes, 1.0) + shift
        return output.masked_fill(holes, 0.0), torch.ones_like(output).masked_fill(holes, 0.0)


class ScaledBias(Nvidia):
    """The bias is scaled as well."""

    def forward(self, input: Tensor, mask_in: Tensor | None = None) -> Any:
        counts = F.conv2d(mask_in, self.weight_maskUpdater.to(input.dtype), None, self.stride, self.padding)
        seen = (counts > 0).to(input.dtype)
        return nn.Conv2d.forward(self, input * mask_in) * self.slide_winsize / counts.clamp(min=1) * seen, seen
