"""Operators that draw random numbers, in programs as torch.export makes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.exporter.tracing.randomness import random_calls


class Calls(nn.Module):
    """A module of one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x.relu(), []),
        (lambda x: x + torch.rand_like(x) + torch.randn(2), ["rand_like", "randn"]),
        (lambda x: torch.bernoulli(x.sigmoid()) + torch.bernoulli(x.abs().clamp(max=1)), ["bernoulli"]),
        (lambda x: F.dropout(x, 0.5, training=True), ["dropout"]),
        (lambda x: F.dropout(x, 0.5, training=False), []),
    ],
    ids=["none", "two", "one twice", "dropout in training", "dropout"],
)
def test_names_of_what_draws(function, names):
    program = torch.export.export(Calls(function).eval(), (torch.ones(2),))
    assert random_calls(program) == names


def test_without_a_program_nothing_is_known():
    assert random_calls(None) == []
