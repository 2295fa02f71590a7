"""A model as it came in."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from rectexport.exporter.frontend.source import Source, in_eval_mode, independent_copy, unwrapped


def test_wrappers_of_training_are_taken_off() -> None:
    model = nn.Linear(1, 1)
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(model)) is model
    assert isinstance(unwrapped(torch.optim.swa_utils.AveragedModel(model)), nn.Linear)
    assert unwrapped(torch.compile(nn.DataParallel(model))) is model
    inside = nn.Sequential(nn.DataParallel(model))
    assert unwrapped(inside) is inside, "only the outside is unwrapped"


class Silent(nn.Module):
    """Its train() returns nothing, so that eval() does."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


def test_eval_mode_of_a_module_whose_train_returns_nothing() -> None:
    model = Silent()
    assert model.eval() is None
    assert in_eval_mode(model.train() or model) is model and not model.training


def test_a_copy_of_a_module_that_keeps_its_last_result() -> None:
    model = nn.Linear(2, 2)
    model.last = {"results": [model(torch.ones(1, 2))]}  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    copied = independent_copy(model)
    assert torch.equal(copied.last["results"][0], model.last["results"][0])
    assert copied.weight is not model.weight and torch.equal(copied.weight, model.weight)


def test_a_source_is_named_by_its_file_or_else_by_its_class() -> None:
    assert Source("module", nn.Linear(1, 1), "a model").name == "Linear"
    assert Source("module", nn.Linear(1, 1), "a model", Path("a/net.pt")).name == str(Path("a/net.pt"))


def test_a_copy_may_share_its_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    copied = independent_copy(model, share_parameters=True)
    assert copied is not model and copied[0] is not model[0]
    assert all(one is other for one, other in zip(copied.parameters(), model.parameters(), strict=True))
    assert copied[1].running_mean is not model[1].running_mean
    assert independent_copy(model)[0].weight is not model[0].weight
