"""Modules are compared with candidates by their answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.exporter.frontend.probing import Probe


class Own(nn.Module):
    """Counts its calls, changes its input, and answers once in float32 only."""

    def __init__(self, only_float: bool = False) -> None:
        super().__init__()
        self.calls, self.only_float = 0, only_float

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.only_float and x.dtype != torch.float32:
            raise TypeError("float32 only")
        if x.shape[-1] == 2:
            raise ValueError("too small")
        return F.relu_(x)


SHAPES = [(1, 2, 3), (2, 3, 4), (1, 2)]


def test_the_module_itself_is_not_run() -> None:
    module = Own()
    probe = Probe(module, SHAPES)
    assert probe.agrees(F.relu) and probe.agrees(nn.ReLU()) and not probe.agrees(torch.abs)
    assert module.calls == 0 and len(probe.answers) == 2, "inputs that it does not take are left out"


def test_float32_where_float64_does_not_run() -> None:
    probe = Probe(Own(only_float=True), SHAPES)
    assert probe.dtype == torch.float32 and probe.agrees(nn.ReLU())


def test_small_differences_count() -> None:
    probe = Probe(nn.Identity(), SHAPES)
    assert probe.agrees(lambda x: x * (1 + 1e-8)) and not probe.agrees(lambda x: x * (1 + 1e-4))


def test_answers_that_are_no_tensor_or_no_number() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Holes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, float("nan"))

    assert not Probe(Two(), SHAPES).answers and not Probe(Two(), SHAPES).agrees(nn.Identity())
    probe = Probe(Holes(), SHAPES)
    assert not probe.finite and probe.agrees(F.relu) and not probe.agrees(lambda x: -x)
