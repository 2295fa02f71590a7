"""Conditions that torch put into a program: taken out, and evaluated at the sizes of a range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes import guards as module
from rectexport.exporter.tracing.sizes.guards import broken, drop_unused_sizes, take_guards
from rectexport.runtime.base.shapes import ShapeRange


class Skip(nn.Module):
    """Runs at even heights only."""

    def forward(self, x: Tensor) -> Tensor:
        down = nn.functional.max_pool2d(x, 2, ceil_mode=True)
        return x + down.repeat_interleave(2, 2)[..., :1]


def program() -> torch.export.ExportedProgram:
    return torch.export.export(
        Skip(),
        (torch.randn(1, 1, 8, 4),),
        dynamic_shapes=({2: Dim("h", min=3, max=12)},),
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def plan(step: int = 1, low: int = 3, high: int = 12) -> InputPlan:
    bounds = ShapeRange((1, 1, low, 4), (1, 1, low + step, 4), (1, 1, high, 4), (1, 1, step, 1))
    return InputPlan("x", np.zeros(bounds.opt, np.float32), bounds)


def test_a_condition_is_broken_at_the_sizes_that_pytorch_refuses() -> None:
    made = program()
    found = take_guards(made)
    drop_unused_sizes(made)
    sizes = {size[0, 2] for guard in found for size in broken(guard, [plan()], {})}
    assert {3, 5, 7, 9, 11} <= sizes and not {4, 6, 8, 10, 12} & sizes
    assert not any(size for guard in found for size in broken(guard, [plan(2, 4)], {}))


def test_the_program_is_left_without_assertions() -> None:
    made = program()
    assert "_assert_scalar" in str(made.graph)
    take_guards(made)
    drop_unused_sizes(made)
    assert "_assert_scalar" not in str(made.graph) and "operator" not in str(made.graph)
    x = torch.randn(1, 1, 8, 4)
    torch.testing.assert_close(made.module(check_guards=False)(x), Skip()(x))


def test_long_ranges_are_looked_at_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SIZES", 20)
    sizes = module._sizes([plan(high=5000)], (0, 2), module.MOST_SIZES)
    assert len(sizes) <= 20 and sizes[:3] == [3, 4, 5] and sizes[-1] == 5000
