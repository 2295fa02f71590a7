"""Ranges that a model takes at every size, and refusals that give a range which works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from rectexport.exporter.base.options import ShapeOptions
from rectexport.exporter.frontend.inputs import plan_inputs
from rectexport.exporter.tracing.sizes.ranges import trace_range
from rectexport.runtime.errors import BadInput
from tests.export.nets import image, seeded, source, traced


class Halves(nn.Module):
    """Halves and doubles its input, and adds it to itself: for even sizes."""

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.down = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2, 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 3, 1, 2) if self.last else x
        return y + self.up(self.down(y))


def refusal(net: nn.Module, low: str, high: str, example: Tensor, python: bool = False) -> str:
    """What the command line says, or an exception in Python."""
    with pytest.raises(BadInput) as refused:
        traced(source(seeded(net), example), min=[low], max=[high])
    text = str(refused.value) if python else refused.value.spelled(str)
    assert "\n" not in text and "size()" not in text
    return text


def test_multiples_are_suggested_and_work() -> None:
    text = refusal(Halves(), "x:1x1x5x4", "x:2x1x17x16", image(2, 1, 8, 8))
    assert "axis 2 (height): asked for 5..17, but the model works at multiples of 2 alone" in text
    assert "tried, and it works: --min-shapes x:1x1x6x4 --max-shapes x:2x1x16x16 --multiple-of x:1x1x2x2" in text
    net = source(seeded(Halves()), image(2, 1, 8, 8))
    result = traced(net, min=["x:1x1x6x4"], max=["x:2x1x16x16"], multiple=["x:1x1x2x2"])
    assert result.inputs[0].range.step == (1, 1, 2, 2)


@pytest.mark.parametrize(("net", "low", "high"), [(Halves(), 5, 17), (nn.Conv2d(1, 1, 6), 3, 20)])
def test_what_python_is_told_works_as_written(net: nn.Module, low: int, high: int) -> None:
    example = image(2, 1, 8, 8)
    name = "x" if isinstance(net, Halves) else "input"
    text = refusal(net, f"{name}:1x1x{low}x8", f"{name}:2x1x{high}x8", example, python=True)
    told = text.partition("tried, and it works: dynamic_shapes=")[2]
    result = traced(source(seeded(net), example), dynamic_shapes=eval(told, {"Dim": Dim}))
    assert result.inputs[0].range.dynamic_axes == (0, 2)


def test_channels_last_are_named_so() -> None:
    text = refusal(Halves(last=True), "x:1x4x4x1", "x:2x16x16x1", image(2, 8, 8, 1))
    assert "axis 1 (height)" in text and "axis 2 (width)" in text and "channels" not in text


def test_the_smallest_size_and_its_module() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 5)))
    text = refusal(net, "input:1x1x4x12", "input:1x1x20x12", image(1, 1, 16, 12))
    assert "smallest height that works: 9 (module 1.1): at height 8 PyTorch fails" in text
    assert "--min-shapes input:1x1x9x12" in text and "batch" not in text


def test_a_condition_on_two_axes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    text = refusal(net, "input:1x1x4x4", "input:2x1x16x16", image(2, 1, 8, 8))
    assert "but the model works at height 8 alone (module 1)" in text


class Branch(nn.Module):
    """Decides by the size: one graph cannot serve both."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[2] % 4 == 0 else x * 3


def test_sizes_that_break_a_condition_of_the_trace_are_judged() -> None:
    net = source(Branch(), image(1, 1, 8, 8))
    result = traced(net, min=["x:1x1x4x8"], max=["x:1x1x13x8"])
    assert any(shapes["x"][2] % 4 for shapes in result.judge)


@pytest.mark.parametrize("high", [9, 16])
def test_derived_dimensions_from_python(high: int) -> None:
    shapes: Any = ({2: 2 * Dim("h", min=2, max=high), 3: 2 * Dim("w", min=2, max=high)},)
    inputs = plan_inputs(source(Halves(), image(1, 1, 8, 6)), ShapeOptions()).inputs
    found = trace_range(source(seeded(Halves()), image(1, 1, 8, 6)), inputs, shapes)
    assert found.inputs[0].range.max == (1, 1, 2 * high, 2 * high) and found.inputs[0].range.step == (1, 1, 2, 2)


def test_an_example_between_two_steps() -> None:
    net = source(Halves(), image(1, 1, 7, 6))
    with pytest.raises(BadInput, match=r"the example has 7, expected 4..18 in steps of 2; the nearest sizes that fit "):
        traced(net, dynamic_shapes=({2: 2 * Dim("h", min=2, max=9)},))


def test_one_row_inside() -> None:
    class Ends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(F.avg_pool2d(x, 2, ceil_mode=True), 2, ceil_mode=True)

    result = traced(source(Ends(), image(2, 1, 9, 9)), min=["x:1x1x2x2"], max=["x:2x1x20x20"])
    assert result.inputs[0].range.min == (1, 1, 2, 2)
    torch.testing.assert_close(result.program.module(check_guards=False)(image(1, 1, 2, 3)), Ends()(image(1, 1, 2, 3)))
