"""VGG with rectified or plain convolutions; state-dict keys are torchvision's.

Source: Very Deep Convolutional Networks (Simonyan, Zisserman); Partial Convolution based Padding (Liu et al.),
whose pd_vgg weights (NVIDIA/partialconv) load: their biases are added after the rectification.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rectexport.models.networks.blocks import MakeConv, counts, initialize, scaled, spatial_conv

POOLED = 7


class VGG(nn.Module):
    """Groups of 3x3 convolutions with a max pool after each, then three linear layers.

    [N, 3, H, W] -> [N, num_classes], H and W at least 32.
    """

    def __init__(self, features: nn.Sequential, channels: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Linear(channels * POOLED * POOLED, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def _features(convs: Sequence[int], widths: Sequence[int], batch_norm: bool, make_conv: MakeConv) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for count, outputs in zip(convs, widths, strict=True):
        for _ in range(count):
            layers.append(make_conv(inputs, outputs, 3, padding=1, bias=True))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            inputs = outputs
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def vgg(
    num_classes: int = 1000,
    convs: Sequence[int] = (2, 2, 3, 3, 3),
    batch_norm: bool = False,
    conv: str = "rectified",
    mode: str = "sum",
    width: float = 1.0,
) -> VGG:
    """A VGG with `convs` convolutions before each pool. [N, 3, H, W] -> [N, num_classes], H and W at least 32.

    conv and mode as in `rectexport.models.networks.blocks.spatial_conv`; width multiplies every channel count. Raises
    ValueError for options it does not know.
    """
    counts(convs, 5, "convs")
    widths = [scaled(w, width) for w in (64, 128, 256, 512, 512)]
    features = _features(convs, widths, batch_norm, spatial_conv(conv, mode))
    return VGG(features, widths[-1], scaled(4096, width), num_classes)
