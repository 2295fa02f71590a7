"""Operators that torch.onnx mistranslates: the traced model computes what PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from onnx import checker
from torch import Tensor, nn

from tests.export.helper import outputs, relative_l2
from tests.export.nets import image, source, traced


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def agrees(function: Callable[[Tensor], Any], dynamic: bool, *sizes: tuple[int, int]) -> None:
    shapes = {"min": ["x:1x2x6x5"], "max": ["x:1x2x20x20"]} if dynamic else {}
    model = traced(source(Calls(function), image(1, 2, 9, 8)), **shapes).model
    checker.check_model(model, full_check=True)
    for size in sizes if dynamic else ((9, 8),):
        x = image(1, 2, *size)
        expected = function(x)
        for wanted, got in zip(
            expected if isinstance(expected, tuple) else (expected,), outputs(model, {"x": x.numpy()}), strict=True
        ):
            assert wanted.shape == got.shape and relative_l2(wanted.numpy(), got) <= 1e-5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.amax() + x.amin(),
        lambda x: torch.aminmax(x),
        lambda x: x.amax((), keepdim=True) * x,
        lambda x: x.clamp(0, 1) + x.clamp(0, 1) * 2 + x.clamp(-1, 0.5),
        lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=4),
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=4),
        lambda x: F.logsigmoid(x * 200),
        lambda x: F.adaptive_max_pool2d(x.round(), 3, return_indices=True),
    ],
)
def test_at_one_size(function: Callable[[Tensor], Any]) -> None:
    agrees(function, False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: F.adaptive_avg_pool2d(x, (None, 2)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1),
        lambda x: F.adaptive_max_pool2d(x, (4, 3), return_indices=True),
        lambda x: F.adaptive_avg_pool1d(x.flatten(2), 4),
        lambda x: F.adaptive_max_pool1d(x.flatten(2), 4),
        lambda x: F.interpolate(x, size=(4, 7), mode="area"),
        lambda x: F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=3),
        lambda x: F.pad(x, (0, -(-x.shape[3] // 4) * 4 - x.shape[3])),
    ],
)
def test_at_every_size(function: Callable[[Tensor], Any]) -> None:
    agrees(function, True, (6, 5), (9, 8), (20, 13), (7, 20))
