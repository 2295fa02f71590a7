"""Networks of convolutions in a row, whose activations are ReLU, AVR or CReLU layer by layer.

Source: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.): ConvPool-CNN-C
and a VGG of 13 convolutions on CIFAR, All-CNN-B on ImageNet.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rectexport.models.layers.crelu import AVR, CReLU
from rectexport.models.layers.geometry import one_of
from rectexport.models.layers.pools import HalvingMaxPool2d
from rectexport.models.networks.blocks import MakeConv, initialize, scaled, spatial_conv


@dataclass(frozen=True)
class Conv:
    """One convolution of a table: filters, kernel, stride and padding."""

    filters: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


Row = Conv | nn.Module
CONVPOOL = (96, 96, 192, 192, 192, 192, 192)
VGG13 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG13_POOLED = (2, 4, 7, 10, 13)
ALL_CNN_B = (
    Conv(96, 11, 4, 0),
    Conv(96, 1, 1, 0),
    Conv(96, 3, 2, 0),
    Conv(256, 5, 1, 2),
    Conv(256, 1, 1, 0),
    Conv(256, 3, 2, 0),
    Conv(384, 3, 1, 1),
    Conv(384, 1, 1, 0),
    Conv(384, 3, 2, 1),
    Conv(1024, 3, 1, 1),
    Conv(1024, 1, 1, 0),
)


def activation(layer: int, crelu: Collection[int], avr: Collection[int]) -> nn.Module:
    """CReLU, AVR or ReLU for convolution number `layer`, counted from 1."""
    if layer in crelu:
        return CReLU()
    return AVR() if layer in avr else nn.ReLU(inplace=True)


def conv_chain(
    rows: Sequence[Row],
    inputs: int,
    crelu: Collection[int],
    avr: Collection[int],
    batch_norm: bool,
    make_conv: MakeConv,
) -> tuple[nn.Sequential, int]:
    """The rows as modules, and how many channels come out. Convolutions are numbered from 1.

    After a convolution come BatchNorm (or else the convolution has a bias) and its activation; a CReLU doubles
    the next convolution's inputs.
    """
    chain = nn.Sequential()
    layer = 0
    for row in rows:
        if isinstance(row, nn.Module):
            chain.append(row)
            continue
        layer += 1
        chain.append(make_conv(inputs, row.filters, row.kernel, row.stride, row.padding, bias=not batch_norm))
        if batch_norm:
            chain.append(nn.BatchNorm2d(row.filters))
        chain.append(activation(layer, crelu, avr))
        inputs = row.filters * (2 if layer in crelu else 1)
    return chain, inputs


class ConvNet(nn.Module):
    """Convolutions, mean over the plane, and optionally more layers. [N, 3, H, W] -> [N, num_classes]."""

    def __init__(self, features: nn.Sequential, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


VARIANTS = ("relu", "double", "avr", "crelu", "half")


def convpool_cnn_c(
    num_classes: int = 10, variant: str = "relu", conv: str = "plain", mode: str = "sum", width: float = 1.0
) -> ConvNet:
    """ConvPool-CNN-C. [N, 3, H, W] -> [N, num_classes], 32x32 giving the paper's 10x10 average.

    variant: ReLU; ReLU with twice the filters; AVR; CReLU; CReLU with half the filters. In "half" conv3 has 48
    filters, as in the paper's table; the last layer has a ReLU in all variants. conv7 is 1x1 with padding 1 and pools
    round up: the paper's 10x10 average needs both. If conv7 is rectified, some of its windows have no valid tap.
    conv, mode and width as in `networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    one_of(variant, VARIANTS, "variant")
    factor = {"double": 2.0, "half": 0.5}.get(variant, 1.0)
    filters = [int(f * factor) for f in CONVPOOL]
    if variant == "half":
        filters[2] = 48
    filters = [scaled(f, width) for f in filters]
    pools = [HalvingMaxPool2d() for _ in range(2)]
    convs = [Conv(f) for f in filters[:6]]
    tail = (convs[5], Conv(filters[6], 1), Conv(num_classes, 1, 1, 0))
    rows: tuple[Row, ...] = (*convs[:2], pools[0], *convs[2:5], pools[1], *tail)
    crelu = range(1, 8) if variant in ("crelu", "half") else ()
    avr = range(1, 8) if variant == "avr" else ()
    features, _ = conv_chain(rows, 3, crelu, avr, False, spatial_conv(conv, mode))
    return ConvNet(features, nn.Identity())


def vgg13conv(
    num_classes: int = 10,
    crelu: Sequence[int] = (),
    half: bool = False,
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> ConvNet:
    """VGG of 13 convolutions with BatchNorm, then linear 512, BatchNorm, ReLU, linear.

    [N, 3, H, W] -> [N, num_classes], H and W at least 32. crelu numbers the convolutions that CReLU follows;
    half gives those half the filters, so that the others keep their size. conv, mode and width as in
    `networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    rows: list[Row] = []
    for layer, filters in enumerate(VGG13, 1):
        rows.append(Conv(scaled(filters // (2 if half and layer in crelu else 1), width)))
        rows += [nn.MaxPool2d(2, 2)] if layer in VGG13_POOLED else []
    features, channels = conv_chain(rows, 3, crelu, (), True, spatial_conv(conv, mode))
    hidden = scaled(512, width)
    layers = [nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    return ConvNet(features, nn.Sequential(*layers))


def all_cnn_b(
    num_classes: int = 1000,
    crelu: Sequence[int] = (),
    avr: Sequence[int] = (),
    half: Sequence[int] = (),
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> ConvNet:
    """All-CNN-B. [N, 3, H, W] -> [N, num_classes], H and W at least 91, 224x224 giving the paper's 6x6 average.

    crelu and avr number the convolutions with those activations, half those with half the filters; the last,
    conv12, has none. conv, mode and width as in `networks.resnet.resnet`. Raises ValueError for options
    it does not know.
    """
    rows = [
        Conv(scaled(row.filters // (2 if layer in half else 1), width), row.kernel, row.stride, row.padding)
        for layer, row in enumerate(ALL_CNN_B, 1)
    ]
    features, channels = conv_chain(rows, 3, crelu, avr, False, spatial_conv(conv, mode))
    features.append(nn.Conv2d(channels, num_classes, 1))
    return ConvNet(features, nn.Identity())
