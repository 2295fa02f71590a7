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


def test_views_and_whole_numbers_stay() -> None:
    x = torch.linspace(0.1, 0.9, 12).double().reshape(3, 4)
    turned = torch.tensor(x.numpy().T[1:].copy())
    with Disturbed(0):
        assert torch.equal(x.t()[1:], turned)
        assert torch.equal(x * 0, torch.zeros(3, 4, dtype=torch.float64))
        assert torch.equal(torch.arange(5).double() + 1, torch.arange(1, 6).double())


def test_it_grows_where_float32_is_inexact() -> None:
    def off(net: nn.Module, x: torch.Tensor) -> float:
        exact = net(x).detach()
        with torch.no_grad(), Disturbed(0):
            return float((net(x) - exact).norm() / exact.norm())

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4)).double()
    usual, constant = off(net, torch.randn(1, 1, 16, 16).double()), off(net, torch.ones(1, 1, 16, 16).double())
    assert usual < 1e-6 and constant > 1e-2
