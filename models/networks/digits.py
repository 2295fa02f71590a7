"""A small network for 8x8 images that uses all four ideas; scikit-learn's digits train it in seconds."""

from __future__ import annotations

from torch import Tensor, nn

from rectexport.models.layers.crelu import CReLU
from rectexport.models.layers.symmetric import SymmetricConv2d
from rectexport.models.networks.blocks import Head, MakeConv, initialize, scaled, spatial_conv


class DigitsNet(nn.Module):
    """Rectified stem with CReLU, a 2:1 block, a strided convolution, a C2sp stage, mean, classifier.

    [N, 1, H, W] -> [N, num_classes], for any H and W; pixels in 0..1. In the 2:1 block BatchNorm meets a
    zero-padded convolution without a ReLU between, so its shift reaches the output as a border-dependent map.
    """

    def __init__(self, widths: tuple[int, int, int], num_classes: int, make_conv: MakeConv) -> None:
        super().__init__()
        stem, middle, last = widths
        self.stem = nn.Sequential(make_conv(1, stem, 5, padding=2), nn.BatchNorm2d(stem), CReLU())
        self.proportional = nn.Sequential(
            make_conv(2 * stem, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            make_conv(middle, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
        )
        self.down = nn.Sequential(make_conv(middle, last, 3, 2, 1), nn.BatchNorm2d(last), nn.ReLU())
        self.symmetric = nn.Sequential(
            SymmetricConv2d(last, last, 2, bias=False),
            nn.BatchNorm2d(last),
            nn.ReLU(),
            SymmetricConv2d(last, last, 2, bias=False),
            nn.BatchNorm2d(last),
            nn.ReLU(),
        )
        self.head = Head(last, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.symmetric(self.down(self.proportional(self.stem(x)))))


def digits(num_classes: int = 10, conv: str = "rectified", mode: str = "sum", width: float = 1.0) -> DigitsNet:
    """The digits network. [N, 1, H, W] -> [N, num_classes].

    conv and mode as in `rectexport.models.networks.blocks.spatial_conv`; width multiplies every channel count.
    Raises ValueError for options it does not know.
    """
    widths = (scaled(16, width), scaled(32, width), scaled(48, width))
    return DigitsNet(widths, num_classes, spatial_conv(conv, mode))
