"""A classifier of sound with rectified or plain convolutions along time.

Source: Very Deep Convolutional Neural Networks for Raw Waveforms (Dai et al.), table 1, network M5; padded here, so
that every convolution of stride 1 keeps the length.
"""

from __future__ import annotations

from torch import Tensor, nn

from rectexport.models.networks.blocks import initialize, scaled, spatial_conv


class M5(nn.Module):
    """Four convolutions, each with BatchNorm, ReLU and a max pool over 4 samples; then the mean over time.

    [N, 1, L] -> [N, num_classes], L at least 1024.
    """

    def __init__(self, features: nn.Sequential, channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.fc = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean(-1))


def m5(num_classes: int = 10, conv: str = "rectified", mode: str = "sum", width: float = 1.0) -> M5:
    """M5. [N, 1, L] -> [N, num_classes], L at least 1024.

    conv and mode as in `rectexport.models.networks.blocks.spatial_conv`; width multiplies every channel count. Raises
    ValueError for options it does not know.
    """
    make_conv = spatial_conv(conv, mode, axes=1)
    layers: list[nn.Module] = []
    inputs = 1
    for outputs, kernel, stride in ((128, 80, 4), (128, 3, 1), (256, 3, 1), (512, 3, 1)):
        channels = scaled(outputs, width)
        layers += [
            make_conv(inputs, channels, kernel, stride, (kernel - 1) // 2),
            nn.BatchNorm1d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool1d(4),
        ]
        inputs = channels
    return M5(nn.Sequential(*layers), inputs, num_classes)
