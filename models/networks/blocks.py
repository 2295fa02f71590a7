"""Blocks that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.models.layers.geometry import MODES, one_of
from rectexport.models.layers.rectified import RECTIFIED

CONVS = ("rectified", "plain")
DROPS = ("none", "first", "last")
#: The class depends on the number of axes.
MakeConv = Callable[..., Any]
_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def spatial_conv(conv: str, mode: str = "sum", axes: int = 2) -> MakeConv:
    """A function that makes a network's zero-padded convolutions; it takes torch.nn.Conv2d's arguments, bias False.

    conv "rectified" makes RectifiedConv2d in `mode`; "plain" makes torch.nn.Conv2d and ignores the mode. So along one
    and three axes. Raises ValueError for any other conv or mode.
    """
    one_of(conv, CONVS, "conv"), one_of(mode, MODES, "mode")
    if conv == "plain":
        return partial(_PLAIN[axes - 1], bias=False)
    rectified: MakeConv = partial(RECTIFIED[axes - 1], bias=False, mode=mode)
    return rectified


def scaled(channels: int, width: float, divisor: int = 4) -> int:
    """channels * width, rounded to a multiple of divisor and never below it.

    Raises ValueError unless width > 0.
    """
    if not width > 0:
        raise ValueError(f"width: expected a factor above 0, got {width!r}")
    if width == 1:
        return channels
    return max(divisor, round(channels * width / divisor) * divisor)


def counts(values: Sequence[int], length: int, name: str) -> Sequence[int]:
    """Returns `values` if they are `length` positive integers, else raises ValueError that names them."""
    if len(values) != length or not all(isinstance(value, int) and value > 0 for value in values):
        raise ValueError(f"{name}: expected {length} positive integers, got {values!r}")
    return values


def initialize(model: nn.Module) -> None:
    """He initialization (fan out) of every convolution, zeros for its bias."""
    for module in model.modules():
        if isinstance(module, _PLAIN) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def named(**modules: nn.Module) -> nn.Sequential:
    """A Sequential whose children have names."""
    chain = nn.Sequential()
    for name, module in modules.items():
        chain.add_module(name, module)
    return chain


def stage(make_block: Callable[..., nn.Module], blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A chain of residual blocks: the first takes `inputs` channels and the stride, the rest keep the shape.

    make_block(inputs, outputs, stride) makes one.
    """
    rest = [make_block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(make_block(inputs, outputs, stride), *rest)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """ResNet's shortcut: a strided 1x1 convolution and BatchNorm, or None if the shape does not change."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """3x3 -> 3x3 with BatchNorm after each and a shortcut; the first 3x3 carries the stride.

    [N, inputs, H, W] -> [N, outputs, ceil(H/stride), ceil(W/stride)]. drop "first" leaves out the ReLU between
    the convolutions, "last" the one after the addition: the two 2:1 proportional forms.
    Raises ValueError for any other drop.

    Source: Deep Residual Learning (He et al.); Rethinking ReLU (Zhao et al.), Fig. 3; names as in torchvision.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, make_conv: MakeConv, drop: str = "none") -> None:
        super().__init__()
        self.drop = one_of(drop, DROPS, "drop")
        self.conv1 = make_conv(inputs, outputs, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = make_conv(outputs, outputs, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(y if self.drop == "first" else self.relu(y)))
        y = y + (x if self.downsample is None else self.downsample(x))
        return y if self.drop == "last" else self.relu(y)


class Bottleneck(nn.Module):
    """1x1 -> 3x3 -> 1x1 with BatchNorm after each and a shortcut; the 3x3 carries the stride.

    [N, inputs, H, W] -> [N, outputs, ceil(H/stride), ceil(W/stride)]. make_conv makes the 3x3.

    Source: Deep Residual Learning (He et al.) and, with groups, ResNeXt (Xie et al.) and RegNet (Radosavovic et
    al.); names as in torchvision's ResNet.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, *, middle: int, groups: int = 1, make_conv: MakeConv
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = make_conv(middle, middle, 3, stride, 1, groups=groups)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class PreActivation(nn.Module):
    """body(enter(x)) + shortcut, where enter starts with BatchNorm and body ends with a convolution.

    [N, inputs, H, W] -> [N, outputs, H', W']. Without a shortcut module the shortcut is x; with one it is
    shortcut(enter(x)), as in the reference code of Identity Mappings, or shortcut(x) where raw_shortcut is set.

    Source: Identity Mappings in Deep Residual Networks (He et al.).
    """

    def __init__(
        self, enter: nn.Module, body: nn.Module, shortcut: nn.Module | None, raw_shortcut: bool = False
    ) -> None:
        super().__init__()
        self.enter, self.body, self.shortcut = enter, body, shortcut
        self.raw_shortcut = raw_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        if self.shortcut is None:
            return self.body(y) + x
        return self.body(y) + self.shortcut(x if self.raw_shortcut else y)


def normalized(channels: int, activation: nn.Module | None, eps: float = 1e-5) -> nn.Sequential:
    """BatchNorm and, unless it is None, an activation. [N, channels, H, W], shape kept by BatchNorm."""
    norm = nn.BatchNorm2d(channels, eps)
    return nn.Sequential(norm) if activation is None else nn.Sequential(norm, activation)


class Head(nn.Module):
    """Mean over the plane, then a linear classifier. [N, C, H, W] -> [N, num_classes]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(x), 1))
