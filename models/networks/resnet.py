"""ResNet, ResNeXt and RegNetX with rectified or plain convolutions.

Source: Rectified Convolution (Zhang), Table 1. The stem and every 3x3 are rectified; 1x1 convolutions and pools
are not. State-dict keys of ResNet and ResNeXt are torchvision's, which the published RFConv weights and
NVIDIA partialconv's pd_resnet share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rectexport.models.networks.blocks import BasicBlock, Bottleneck, counts, initialize, scaled, spatial_conv, stage


class ResNet(nn.Module):
    """Stem, stages of residual blocks, mean, classifier. [N, 3, H, W] -> [N, num_classes], any H and W.

    conv1 is the stem up to its last BatchNorm; maxpool says whether a 3x3 stride 2 pool follows it.
    """

    def __init__(
        self, conv1: nn.Module, widths: Sequence[int], stages: Sequence[nn.Module], num_classes: int, maxpool: bool
    ) -> None:
        super().__init__()
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if maxpool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet(
    num_classes: int = 1000,
    blocks: Sequence[int] = (3, 4, 6, 3),
    groups: int = 1,
    width_per_group: int = 64,
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> ResNet:
    """A ResNet or ResNeXt of bottlenecks. [N, 3, H, W] -> [N, num_classes].

    Inside its blocks a stage has planes * width_per_group/64 * groups channels, planes being 64, 128, 256, 512,
    and 4 * planes outside. conv and mode as in `rectexport.models.networks.blocks.spatial_conv`; width multiplies every
    channel count. Raises ValueError for options it does not know.
    """
    counts(blocks, 4, "blocks")
    make_conv = spatial_conv(conv, mode)
    divisor = max(4, 64 // width_per_group) if groups > 1 else 4
    planes = [scaled(64 * 2**index, width, divisor) for index in range(4)]
    widths = [planes[0], *(4 * p for p in planes)]
    middles = [p * width_per_group // 64 * groups for p in planes]
    make = [partial(Bottleneck, middle=m, groups=groups, make_conv=make_conv) for m in middles]
    stages = [stage(make[i], blocks[i], widths[i], widths[i + 1], min(i, 1) + 1) for i in range(4)]
    return ResNet(make_conv(3, planes[0], 7, 2, 3), widths, stages, num_classes, maxpool=True)


def basic_resnet(
    num_classes: int = 1000,
    blocks: Sequence[int] = (2, 2, 2, 2),
    drop: str = "none",
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> ResNet:
    """A ResNet of basic blocks. [N, 3, H, W] -> [N, num_classes].

    drop "none", "first" or "last" as in `rectexport.models.networks.blocks.BasicBlock`, the rest as in `resnet`.
    Raises ValueError for options it does not know.
    """
    counts(blocks, 4, "blocks")
    make_conv = spatial_conv(conv, mode)
    widths = [scaled(64 * 2 ** max(index - 1, 0), width) for index in range(5)]
    make = partial(BasicBlock, make_conv=make_conv, drop=drop)
    stages = [stage(make, blocks[i], widths[i], widths[i + 1], min(i, 1) + 1) for i in range(4)]
    return ResNet(make_conv(3, widths[0], 7, 2, 3), widths, stages, num_classes, maxpool=True)


def regnet(
    num_classes: int = 1000,
    blocks: Sequence[int] = (2, 5, 14, 2),
    widths: Sequence[int] = (80, 240, 560, 1360),
    group_width: int = 40,
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> ResNet:
    """A RegNetX: bottleneck ratio 1, stride 2 in every stage, a 3x3 stem of 32 channels and no pool.

    [N, 3, H, W] -> [N, num_classes]. conv, mode and width as in `resnet`; width multiplies group_width too.
    Raises ValueError for options it does not know.
    """
    counts(blocks, 4, "blocks"), counts(widths, 4, "widths")
    make_conv = spatial_conv(conv, mode)
    group_width = scaled(group_width, width, 2)
    channels = [scaled(32, width), *(scaled(w, width, group_width) for w in widths)]
    make = [partial(Bottleneck, middle=c, groups=c // group_width, make_conv=make_conv) for c in channels[1:]]
    stages = [stage(make[i], blocks[i], channels[i], channels[i + 1], 2) for i in range(4)]
    return ResNet(make_conv(3, channels[0], 3, 2, 1), channels, stages, num_classes, maxpool=False)
