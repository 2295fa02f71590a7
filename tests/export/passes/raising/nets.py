"""The layers that several raise passes are tried behind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Spelled(nn.Module):
    """A seeded convolution and BatchNorm, then a function of the result. [N, 4, H, W] -> the function's."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.norm(self.conv(x)))
