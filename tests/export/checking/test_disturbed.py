"""Random rounding of every step."""

from __future__ import annotations

import torch
from torch import nn

from rectexport.exporter.checking.disturbed import ROUNDOFF, Disturbed


def test_every_result_moves_by_at_most_half_a_step() -> None:
    x = torch.linspace(-3, 3, 1000, dtype=torch.float64)
    with Disturbed(0):
        moved = x + 0.5
    off = ((moved - (x + 0.5)) / (x + 0.5)).abs()
    assert ROUNDOFF / 2 < off.max() <= 1.001 * ROUNDOFF


def test_views_zeros_and_integers_stay() -> None:
    x = torch.arange(12).double().reshape(3, 4)
    with Disturbed(0):
        assert torch.equal(x.t().reshape(12)[3:].view(9), x.t().reshape(12)[3:])
        assert torch.equal(x * 0, torch.zeros(3, 4, dtype=torch.float64))
        assert torch.equal(torch.arange(5) + 1, torch.arange(1, 6))


def test_it_grows_where_float32_is_inexact() -> None:
    def off(net: nn.Module, x: torch.Tensor) -> float:
        exact = net(x)
        with Disturbed(0):
            return float((net(x) - exact).norm() / exact.norm())

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4)).double()
    usual, constant = off(net, torch.randn(1, 1, 16, 16).double()), off(net, torch.ones(1, 1, 16, 16).double())
    assert usual < 1e-6 and constant > 1e-2
