"""A rectified convolution in PyTorch whose map and bias are one Triton kernel in place: z = r·y + b.

Source of the arithmetic: plugins/reference.py. Where Triton is not installed, `stand_in` of dry.py runs the same
kernel function element by element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models import RectifiedConv2d
from rectexport.models.layers.geometry import Window, pair, rectification_map, resolve_padding

BLOCK = 1024


def make_kernel(triton: Any, tl: Any) -> Any:
    """The kernel, compiled by `triton` when it is first launched. `tl` is triton.language."""

    def rectify(y, r, bias, count, channels, plane, LAST: tl.constexpr, BIASED: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
        index = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
        inside = index < count
        if LAST:
            channel = index % channels
            pixel = index // channels % plane
        else:
            channel = index // plane % channels
            pixel = index % plane
        value = tl.load(y + index, mask=inside).to(tl.float32) * tl.load(r + pixel, mask=inside)
        if BIASED:
            value += tl.load(bias + channel, mask=inside).to(tl.float32)
        tl.store(y + index, value, mask=inside)

    rectify.__annotations__ = {"LAST": tl.constexpr, "BIASED": tl.constexpr, "SIZE": tl.constexpr}
    return triton.jit(rectify)


class FusedRectified(nn.Module):
    """[N, C_in, H, W] -> [N, C_out, H_out, W_out]: as the layer that it is made from."""

    def __init__(self, layer: RectifiedConv2d, kernel: Any) -> None:
        super().__init__()
        self.layer, self.kernel = layer, kernel
        self.maps: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        stride, dilation = pair(layer.stride, "stride"), pair(layer.dilation, "dilation")
        size = pair(layer.kernel_size, "kernel_size")
        window = Window(size, stride, resolve_padding(layer.padding, size, stride, dilation), dilation)
        top, left, bottom, right = window.pads
        padded = x if (top, left) == (bottom, right) else F.pad(x, (left, right, top, bottom))
        y = F.conv2d(padded, layer.weight, None, stride, (top, left) if padded is x else 0, dilation, layer.groups)
        biased, last = layer.bias is not None, not y.is_contiguous()
        grid, plane = (-(-y.numel() // BLOCK),), y.shape[2] * y.shape[3]
        r, bias = self._map(x, window), layer.bias if biased else y
        self.kernel[grid](y, r, bias, y.numel(), y.shape[1], plane, LAST=last, BIASED=biased, SIZE=BLOCK)
        return y

    def _map(self, x: Tensor, window: Window) -> Tensor:
        key = (x.shape[2], x.shape[3])
        if key not in self.maps:
            self.maps[key] = rectification_map(key, window, self.layer.mode, torch.float32, x.device).contiguous()
        return self.maps[key]


def fuse(model: nn.Module, kernel: Any) -> int:
    """Replace every rectified convolution whose bias is not rectified, in place; returns how many."""
    found: list[tuple[Callable[[Any], None], RectifiedConv2d]] = []
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, RectifiedConv2d) and (child.bias_mode, child.empty) == ("after", "bias"):
                found.append((lambda new, parent=parent, name=name: setattr(parent, name, new), child))  # type: ignore[misc]
    for replace, child in found:
        replace(FusedRectified(child, kernel))
    return len(found)
