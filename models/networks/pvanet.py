"""The C.ReLU part of PVANet: its stem and its seven residual blocks with a C.ReLU each, and a classifier.

Source: PVANET (Kim et al.), sanghoon/pva-faster-rcnn. PVANet's Inception stages, conv4 and conv5, are left out.
"""

from __future__ import annotations

from torch import nn

from rectexport.models.layers.crelu import ScaledCReLU
from rectexport.models.networks.blocks import (
    Head,
    MakeConv,
    PreActivation,
    initialize,
    named,
    normalized,
    scaled,
    spatial_conv,
)


def stem(outputs: int, make_conv: MakeConv) -> nn.Sequential:
    """C.ReLU: convolution, BatchNorm, concat(y, -y), scale and shift, ReLU. [N, 3, H, W] -> [N, 2 * outputs, …]."""
    return nn.Sequential(
        make_conv(3, outputs, 7, 2, 3), nn.BatchNorm2d(outputs), ScaledCReLU(outputs), nn.MaxPool2d(3, 2, 1)
    )


def crelu_block(inputs: int, middle: int, outputs: int, stride: int, first: bool, make_conv: MakeConv) -> PreActivation:
    """1x1 -> 3x3 -> C.ReLU -> 1x1 before the addition. [N, inputs, H, W] -> [N, outputs, …].

    The first 1x1 has the stride, and normalization comes before each convolution. The first block of the network
    does not normalize its input, which comes from a ReLU. A projection reads the block's input before activation.
    """
    enter = nn.Identity() if first else normalized(inputs, nn.ReLU())
    body = nn.Sequential(
        nn.Conv2d(inputs, middle, 1, stride),
        normalized(middle, nn.ReLU()),
        make_conv(middle, middle, 3, 1, 1, bias=True),
        nn.BatchNorm2d(middle),
        ScaledCReLU(middle),
        nn.Conv2d(2 * middle, outputs, 1),
    )
    shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None
    return PreActivation(enter, body, shortcut, raw_shortcut=True)


def pvanet_crelu(num_classes: int = 1000, conv: str = "plain", mode: str = "sum", width: float = 1.0) -> nn.Sequential:
    """PVANet's conv1 to conv3 and a classifier. [N, 3, H, W] -> [N, num_classes], any H and W.

    conv, mode and width as in `networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    make_conv = spatial_conv(conv, mode)
    first, inner2, outer2, inner3, outer3 = (scaled(c, width) for c in (16, 24, 64, 48, 128))
    conv2 = [crelu_block(2 * first, inner2, outer2, 1, True, make_conv)]
    conv2 += [crelu_block(outer2, inner2, outer2, 1, False, make_conv) for _ in range(2)]
    conv3 = [crelu_block(outer2, inner3, outer3, 2, False, make_conv)]
    conv3 += [crelu_block(outer3, inner3, outer3, 1, False, make_conv) for _ in range(3)]
    model = named(
        conv1=stem(first, make_conv),
        conv2=nn.Sequential(*conv2),
        conv3=nn.Sequential(*conv3),
        last=normalized(outer3, nn.ReLU()),
        head=Head(outer3, num_classes),
    )
    initialize(model)
    return model
