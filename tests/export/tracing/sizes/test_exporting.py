"""The ways of asking torch.export for a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.exporter.tracing.sizes.axes import AskedAxis
from rectexport.exporter.tracing.sizes.exporting import Request, concerns_sizes, export_range


class Pads(nn.Module):
    def __init__(self, missing: Callable[[Any], Any]) -> None:
        super().__init__()
        self.missing = missing

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 0, 0, self.missing(x.shape[2]))), 4)


def request_of(model: nn.Module, step: int = 1, low: int = 8) -> Request:
    asked = [{2: AskedAxis(low, 32, step, "height")}]
    return Request(model.eval(), ("x",), (torch.randn(1, 1, 20, 8),), asked)


@pytest.mark.parametrize(
    "missing",
    [
        lambda size: -size % 4,
        lambda size: (4 - size % 4) % 4,
        lambda size: math.ceil(size / 4) * 4 - size,
        lambda size: (size + 3) // 4 * 4 - size,
        lambda size: int(math.ceil(size / 4)) * 4 - size,  # noqa: RUF046
        lambda size: int(np.ceil(size / 4) * 4) - size,
        lambda size: int(np.ceil(size / 4.0)) * 4 - int(size),
    ],
)
def test_spellings_of_padding_to_a_multiple(missing: Callable[[Any], Any]) -> None:
    found = export_range(request_of(Pads(missing)))
    run = found.program.module(check_guards=False)
    for size in (8, 9, 11, 32):
        x = torch.randn(1, 1, size, 8)
        torch.testing.assert_close(run(x), Pads(missing)(x))


def test_what_torch_proves_needs_no_guards() -> None:
    assert export_range(request_of(nn.Conv2d(1, 1, 3))).guards == ()
    assert export_range(request_of(nn.MaxPool2d(2, ceil_mode=True))).guards


def test_the_first_refusal_is_reported() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(1, 1, 20, 8)

    with pytest.raises(Exception, match="Constraints violated") as refused:
        export_range(request_of(Fixed()))
    assert concerns_sizes(refused.value)
    assert not concerns_sizes(ValueError("no such layer"))


class Paths(nn.Module):
    """Halves the image three times by pooling and by strided convolutions, which sympy cannot compare for any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv(x)
        quarter = self.conv(half)
        return self.pool(self.pool(half)) + self.conv(quarter) + self.pool(quarter)


def test_sizes_in_steps_that_sympy_cannot_compare() -> None:
    asked = [{2: AskedAxis(64, 96, 32, "height"), 3: AskedAxis(64, 128, 32, "width")}]
    found = export_range(Request(Paths().eval(), ("x",), (torch.randn(1, 1, 64, 64),), asked))
    shapes = {tuple(found.program.module(check_guards=False)(torch.randn(1, 1, h, 96)).shape) for h in (64, 96)}
    assert shapes == {(1, 1, 8, 12), (1, 1, 12, 12)}


class Hourglass(nn.Module):
    """Halved three times, then resized to the sizes that came before and joined with them."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(3))
        self.up = nn.ModuleList(nn.Conv2d(2, 1, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for conv in self.down:
            kept.append(x)
            x = conv(x)
        for conv in self.up:
            x = conv(torch.cat((nn.functional.interpolate(x, kept[-1].shape[2:]), kept.pop()), 1))
        return x


def test_one_pixel_at_the_example_is_not_taken_for_one_at_every_size() -> None:
    net = Hourglass().eval()
    asked = [{2: AskedAxis(5, 40, 1, "height"), 3: AskedAxis(5, 40, 1, "width")}]
    run = export_range(Request(net, ("x",), (torch.randn(1, 1, 8, 8),), asked)).program.module(check_guards=False)
    for height, width in ((5, 5), (8, 9), (24, 7), (40, 40)):
        x = torch.randn(1, 1, height, width)
        torch.testing.assert_close(run(x), net(x))
