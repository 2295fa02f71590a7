"""The U-Net of masked partial convolutions that fills irregular holes in images.

Source: Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.), table 1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.layers.geometry import one_of
from rectexport.models.layers.masked import MaskedConv2d
from rectexport.models.networks.blocks import initialize, scaled

CONVS = ("masked", "plain")
#: Channels and kernel of each encoder layer; each halves the size.
ENCODER = ((64, 7), (128, 5), (256, 5), (512, 3), (512, 3), (512, 3), (512, 3), (512, 3))
#: Channels of each decoder layer but the last.
DECODER = (512, 512, 512, 512, 256, 128, 64)
#: An alpha above this is a known pixel.
KNOWN = 0.5


class PlainConv(nn.Conv2d):
    """An ordinary convolution in the place of a masked one: the mask is passed on unused."""

    def forward(self, input: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
        return super().forward(input), mask


class Layer(nn.Module):
    """A masked convolution, BatchNorm and an activation. (x, mask) -> (x, mask)."""

    def __init__(self, conv: nn.Module, norm: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.act = conv, norm, act

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = self.conv(x, mask)
        return self.act(self.norm(x)), mask


class InpaintingUNet(nn.Module):
    """Eight layers of stride 2, then eight after nearest upsampling beside the features and masks of that size.

    [N, 4, H, W], an image and its alpha: 1 where the image is known, 0 in a hole -> [N, num_classes, H, W], the
    whole image. Any H and W.
    """

    def __init__(self, encoder: nn.ModuleList, decoder: nn.ModuleList, masked: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.masked = encoder, decoder, masked
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        image = x[:, :3]
        known = (x[:, 3:] > KNOWN).to(x.dtype)
        mask = known.expand(-1, 3, -1, -1)
        image = image * known
        skips = []
        for layer in self.encoder:
            skips.append((image, mask))
            image, mask = layer(image, mask)
        for layer in self.decoder:
            features, around = skips.pop()
            size = features.shape[2:]
            image = torch.cat((F.interpolate(image, size), features), 1)
            if self.masked:
                mask = torch.cat((F.interpolate(mask, size), around), 1)
            image, mask = layer(image, mask)
        return image


def inpainting_unet(num_classes: int = 3, depth: int = 8, conv: str = "masked", width: float = 1.0) -> InpaintingUNet:
    """The U-Net. [N, 4, H, W] -> [N, num_classes, H, W].

    depth is the number of layers on the way down, 2 to 8, and on the way up; conv "plain" makes ordinary convolutions,
    which read holes as zeros; width multiplies every channel count but those of the image. Raises ValueError for
    options it does not know.
    """
    one_of(conv, CONVS, "conv")
    if not 2 <= depth <= len(ENCODER):
        raise ValueError(f"depth: expected 2 to {len(ENCODER)} layers, got {depth!r}")
    make: Any = partial(MaskedConv2d, multi_channel=True) if conv == "masked" else PlainConv
    channels = [3, *(scaled(count, width) for count, _ in ENCODER[:depth])]
    encoder = nn.ModuleList()
    for index, (_, kernel) in enumerate(ENCODER[:depth]):
        inputs, outputs = channels[index : index + 2]
        norm = nn.BatchNorm2d(outputs) if index else nn.Identity()
        encoder.append(Layer(make(inputs, outputs, kernel, 2, kernel // 2, bias=False), norm, nn.ReLU()))
    decoder = nn.ModuleList()
    inputs = channels.pop()
    for count in DECODER[len(DECODER) - depth + 1 :]:
        outputs = scaled(count, width)
        conv_ = make(inputs + channels.pop(), outputs, 3, 1, 1, bias=False)
        decoder.append(Layer(conv_, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)))
        inputs = outputs
    decoder.append(Layer(make(inputs + channels.pop(), num_classes, 3, 1, 1), nn.Identity(), nn.Identity()))
    return InpaintingUNet(encoder, decoder, conv == "masked")
