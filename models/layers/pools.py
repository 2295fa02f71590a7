"""Pools that round their output size up, in a form that also exports with dynamic height and width.

torch.export refuses ceil_mode=True on a plane of unknown size, because it cannot prove that the last window starts
inside it. For unknown sizes the pools instead pad one row and one column at the end, which gives the same result.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def is_static(x: Tensor) -> bool:
    """Whether height and width of x [N, C, H, W] are known numbers, as they always are outside tracing."""
    return all(isinstance(size, int) for size in x.shape[2:])


class HalvingAvgPool2d(nn.Module):
    """2x2 average of stride 2, its windows cropped at odd edges. [N, C, H, W] -> [N, C, ceil(H/2), ceil(W/2)]."""

    def forward(self, x: Tensor) -> Tensor:
        if is_static(x):
            return F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 2)


class HalvingMaxPool2d(nn.Module):
    """3x3 maximum of stride 2 that rounds up. [N, C, H, W] -> [N, C, floor(H/2), floor(W/2)], H and W at least 2."""

    def forward(self, x: Tensor) -> Tensor:
        if is_static(x):
            return F.max_pool2d(x, 3, 2, ceil_mode=True)
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
