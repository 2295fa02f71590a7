"""ResNeSt with rectified or plain convolutions; state-dict keys are those of the `resnest` package.

Source: ResNeSt: Split-Attention Networks (Zhang et al.), zhanghang1989/ResNeSt; Rectified Convolution (Zhang).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from rectexport.models.layers.pools import HalvingAvgPool2d
from rectexport.models.networks.blocks import MakeConv, counts, scaled, spatial_conv, stage
from rectexport.models.networks.resnet import ResNet

REDUCTION = 4
LEAST_ATTENTION = 32


class SplitAttention(nn.Module):
    """A grouped 3x3 convolution to `radix` splits, and their sum weighted by attention.

    [N, channels, H, W] -> [N, channels, H, W]. The convolution has cardinality * radix groups and its output
    channels are the splits one after the other. The weights are a softmax over the splits (with one split, a
    sigmoid) of scores computed from the splits' sum. fc2's channels are ordered (group, split, channel), the weights
    (split, group, channel).
    """

    def __init__(self, channels: int, cardinality: int, radix: int, make_conv: MakeConv) -> None:
        super().__init__()
        self.cardinality, self.radix = cardinality, radix
        middle = max(channels * radix // REDUCTION, LEAST_ATTENTION)
        self.conv = make_conv(channels, channels * radix, 3, 1, 1, groups=cardinality * radix)
        self.bn0 = nn.BatchNorm2d(channels * radix)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, middle, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(middle)
        self.fc2 = nn.Conv2d(middle, channels * radix, 1, groups=cardinality)

    def forward(self, x: Tensor) -> Tensor:
        splits = self.relu(self.bn0(self.conv(x))).chunk(self.radix, dim=1)
        total = splits[0]
        for split in splits[1:]:
            total = total + split
        weights = self.attention(self.pool(total)).chunk(self.radix, dim=1)
        output = weights[0] * splits[0]
        for weight, split in zip(weights[1:], splits[1:], strict=True):
            output = output + weight * split
        return output

    def attention(self, mean: Tensor) -> Tensor:
        """[N, channels, 1, 1] -> weights [N, radix * channels, 1, 1], ordered (split, group, channel)."""
        scores = self.fc2(self.relu(self.bn1(self.fc1(mean))))
        if self.radix == 1:
            return scores.sigmoid()
        grouped = scores.unflatten(1, (self.cardinality, self.radix, -1)).flatten(3)
        return grouped.transpose(1, 2).softmax(dim=1).flatten(1).unflatten(1, (-1, 1, 1))


class ResNeStBlock(nn.Module):
    """1x1 -> split attention -> 1x1; a stride is a 3x3 average pool before the attention.

    [N, inputs, H, W] -> [N, outputs, ceil(H/stride), ceil(W/stride)]. The shortcut averages before its 1x1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        *,
        middle: int,
        cardinality: int,
        radix: int,
        make_conv: MakeConv,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.avd_layer = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.conv2 = SplitAttention(middle, cardinality, radix, make_conv)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                HalvingAvgPool2d() if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.avd_layer(self.relu(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(self.conv2(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def deep_stem(channels: int, make_conv: MakeConv) -> nn.Sequential:
    """Three 3x3 convolutions, the first of stride 2. [N, 3, H, W] -> [N, 2 * channels, ceil(H/2), ceil(W/2)]."""
    return nn.Sequential(
        make_conv(3, channels, 3, 2, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        make_conv(channels, channels, 3, 1, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        make_conv(channels, 2 * channels, 3, 1, 1),
    )


def resnest(
    num_classes: int = 1000,
    blocks: Sequence[int] = (3, 4, 6, 3),
    radix: int = 2,
    cardinality: int = 8,
    bottleneck_width: int = 14,
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> ResNet:
    """A "fast" ResNeSt with a deep stem. [N, 3, H, W] -> [N, num_classes].

    Inside its blocks a stage has planes * bottleneck_width/64 * cardinality channels, planes being 64, 128, 256,
    512. conv, mode and width as in `networks.resnet.resnet`. Raises ValueError for options it does not
    know.
    """
    counts(blocks, 4, "blocks")
    make_conv = spatial_conv(conv, mode)
    stem = scaled(32, width)
    planes = [64 * 2**index for index in range(4)]
    widths = [2 * stem, *(4 * scaled(p, width) for p in planes)]
    middles = [scaled(p * bottleneck_width // 64 * cardinality, width, radix * cardinality) for p in planes]
    common: dict[str, Any] = {"cardinality": cardinality, "radix": radix, "make_conv": make_conv}
    make = [partial(ResNeStBlock, middle=middle, **common) for middle in middles]
    stages = [stage(make[i], blocks[i], widths[i], widths[i + 1], min(i, 1) + 1) for i in range(4)]
    return ResNet(deep_stem(stem, make_conv), widths, stages, num_classes, maxpool=True)
