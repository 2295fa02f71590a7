"""A model as it came in."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rectexport.exporter.frontend.source import Source, unwrapped


def test_wrappers_of_training_are_taken_off() -> None:
    model = nn.Linear(1, 1)
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(torch.compile(nn.DataParallel(model))) is model
    inside = nn.Sequential(nn.DataParallel(model))
    assert unwrapped(inside) is inside, "only the outside is unwrapped"


def test_a_source_is_named_by_its_file_or_else_by_its_class() -> None:
    assert Source("module", nn.Linear(1, 1), "a model").name == "Linear"
    assert Source("module", nn.Linear(1, 1), "a model", Path("a/net.pt")).name == str(Path("a/net.pt"))
