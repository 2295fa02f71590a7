"""A classifier of video with rectified or plain convolutions along time, height and width; keys are torchvision's.

Source: A Closer Look at Spatiotemporal Convolutions for Action Recognition (Tran et al.), network R3D.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rectexport.models.networks.blocks import MakeConv, counts, initialize, scaled, spatial_conv


class Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut. [N, inputs, D, H, W] -> [N, outputs, …], sizes divided by stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, make_conv: MakeConv) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(make_conv(inputs, outputs, 3, stride, 1), nn.BatchNorm3d(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(make_conv(outputs, outputs, 3, 1, 1), nn.BatchNorm3d(outputs))
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv3d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class VideoResNet(nn.Module):
    """A stem, four stages of `Block`, and the mean. [N, 3, D, H, W] -> [N, num_classes]."""

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], make_conv: MakeConv, num_classes: int) -> None:
        super().__init__()
        first = make_conv(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3))
        self.stem = nn.Sequential(first, nn.BatchNorm3d(widths[0]), nn.ReLU())
        inputs = widths[0]
        for index, (count, outputs) in enumerate(zip(blocks, widths, strict=True)):
            chain = [Block(inputs, outputs, 2 if index else 1, make_conv)]
            chain += [Block(outputs, outputs, 1, make_conv) for _ in range(count - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*chain))
            inputs = outputs
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(inputs, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in range(4):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def r3d(
    num_classes: int = 400,
    blocks: Sequence[int] = (2, 2, 2, 2),
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> VideoResNet:
    """R3D with `blocks` blocks a stage. [N, 3, D, H, W] -> [N, num_classes], D and H, W of any size.

    conv and mode as in `rectexport.models.networks.blocks.spatial_conv`; width multiplies every channel count. Raises
    ValueError for options it does not know.
    """
    counts(blocks, 4, "blocks")
    widths = [scaled(w, width) for w in (64, 128, 256, 512)]
    return VideoResNet(blocks, widths, spatial_conv(conv, mode, axes=3), num_classes)
