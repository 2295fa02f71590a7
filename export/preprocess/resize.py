"""Antialiased resizing as products with matrices, which every engine computes alike.

Given   y of [N, C, H, W], resized to H' x W' with bilinear or bicubic antialias, as torch's interpolate does
Result  A y Bᵀ; A [H', H] holds the weights of each output row, B [W', W] those of each output column

Row i samples at (i + 1/2) H/H' - 1/2. The weight of input row j is f(d), divided by the sum over all j, where
d = ((2j + 1) H' - (2i + 1) H) / (2 max(H, H')) and f is the triangle 1 - |d| on [-1, 1] or Keys' cubic with a = -1/2
on [-2, 2]. The numerator is a whole number, so positions are exact in float32. Open sizes are allowed: A and B are then
computed from the image's shape.

Not when align_corners is set, or without antialias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Line:
    """One axis: sizes before and after, and the rows of the result that are kept: `count` of them from `start` on.

    Each may be a torch.SymInt.
    """

    size: Any
    result: Any
    start: Any
    count: Any


def resize(image: Tensor, rows: Line, columns: Line, cubic: bool, one: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, rows.count, columns.count]; `one` is a 1 in the image's dtype, [1, 1]."""
    left, right = _weights(rows, cubic, one), _weights(columns, cubic, one)
    return torch.matmul(torch.matmul(left, image), right.transpose(0, 1))


def _weights(line: Line, cubic: bool, one: Tensor) -> Tensor:
    """[count, size]."""
    results = (2 * (torch.arange(line.count) + line.start) + 1).unsqueeze(1)
    sources = (2 * torch.arange(line.size) + 1).unsqueeze(0)
    distance = (sources * line.result - results * line.size) * one / (2 * torch.sym_max(line.size, line.result))
    weights = _cubic(distance.abs()) if cubic else (1 - distance.abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    inner = distance < 1
    return torch.where(inner, near, torch.where(distance < 2, far, 0.0))
