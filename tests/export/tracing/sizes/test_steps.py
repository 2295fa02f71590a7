"""Steps between sizes at which all conditions of a trace hold."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tests.export.nets import image, source, traced


class Parts(nn.Module):
    """Pools to a part of the size, equal windows where it divides."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, (x.shape[2] // self.part, 2))


def steps(part: int, low: int, high: int, example: int) -> str:
    net = source(Parts(part), image(1, 1, example, 8))
    return traced(net, min=[f"x:1x1x{low}x8"], max=[f"x:1x1x{high}x8"]).steps


def test_the_smallest_step_that_holds() -> None:
    assert steps(4, 8, 40, 16) == "--multiple-of x:1x1x4x1"
    assert steps(6, 7, 40, 24) == "--multiple-of x:1x1x6x1"


class Odd(nn.Module):
    """Another function at every fourth size."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 3 if x.shape[2] % 4 else x * 2


def test_no_step_holds() -> None:
    assert traced(source(Odd(), image(1, 1, 7, 8)), min=["x:1x1x5x8"], max=["x:1x1x500x8"]).steps == ""
    even = traced(source(Odd(), image(1, 1, 8, 8)), min=["x:1x1x5x8"], max=["x:1x1x43x8"])
    assert even.steps == "--multiple-of x:1x1x4x1"


def test_conditions_that_always_hold() -> None:
    net = source(nn.MaxPool2d(2, ceil_mode=True), image(1, 1, 16, 8))
    assert traced(net, min=["input:1x1x8x8"], max=["input:1x1x40x8"]).steps == ""


def test_steps_that_were_asked_for_stay() -> None:
    asked = {"min": ["x:1x1x6x8"], "max": ["x:1x1x60x8"], "multiple": ["x:1x1x6x1"]}
    assert traced(source(Parts(4), image(1, 1, 12, 8)), **asked).steps == "--multiple-of x:1x1x12x1"
