"""The sizes at which PyTorch runs a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes.trials import Trial, corner_failure, narrowed, working_sizes
from rectexport.runtime.base.shapes import ShapeRange


class Takes(nn.Module):
    """Runs at heights from `low` to `high` that leave no rest when divided by `step`."""

    def __init__(self, low: int = 1, high: int = 10**6, step: int = 1, rest: int = 0) -> None:
        super().__init__()
        self.low, self.high, self.step, self.rest, self.inner = low, high, step, rest, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if not self.low <= x.shape[2] <= self.high or x.shape[2] % self.step != self.rest:
            raise ValueError("no")
        return x


def trial(model: nn.Module, low: int = 2, opt: int = 24, high: int = 64) -> Trial:
    bounds = ShapeRange((1, 1, low, 4), (1, 1, opt, 4), (1, 1, high, 4))
    return Trial(model, [InputPlan("x", np.zeros(bounds.opt, np.float32), bounds)], {(0, 2): "h"})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Takes(), (2, 64, 1)),
        (Takes(low=17), (17, 64, 1)),
        (Takes(high=31), (2, 31, 1)),
        (Takes(step=8), (8, 64, 8)),
        (Takes(step=6), (6, 60, 6)),
        (Takes(low=10, step=4), (12, 64, 4)),
        (Takes(low=24, high=24), (24, 24, 1)),
    ],
)
def test_the_step_and_the_ends_are_found(model: nn.Module, expected: tuple[int, int, int]) -> None:
    tried = trial(model)
    found = working_sizes(tried, [(0, 2)])
    assert found is not None
    assert [(entry.low, entry.high, entry.step) for entry in found] == [expected]
    (plan,) = narrowed(tried.inputs, found, tried.symbols)
    assert (plan.range.min[2], plan.range.max[2], plan.range.step_of(2)) == expected
    assert corner_failure(tried, [plan]) is None


def test_a_model_that_does_not_run_at_all() -> None:
    assert working_sizes(trial(Takes(low=10**5)), [(0, 2)]) is None


def test_a_failure_has_its_module() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 5)))
    failure = trial(net).at({(0, 2): 3})
    assert failure is not None and failure.module == "1.1" and "RuntimeError" in failure.reason


def test_axes_of_one_symbol_have_one_size() -> None:
    tried = trial(Takes())
    tried.symbols = {(0, 2): "side", (0, 3): "side"}
    assert tried.shapes({(0, 2): 9}) == ((1, 1, 9, 9),)


def test_sizes_that_need_much_memory_are_not_tried() -> None:
    assert trial(Takes()).affordable({(0, 2): 10**5})
    assert not trial(Takes()).affordable({(0, 2): 10**8})


def test_weights_are_not_touched() -> None:
    net = nn.BatchNorm2d(1).eval()
    trial(net).at({})
    assert net.running_mean is not None and torch.equal(net.running_mean, torch.zeros(1))
