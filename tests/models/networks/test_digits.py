"""The digits network and its committed checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits import train as train_digits
from rectexport.models.digits.data import digits_split
from rectexport.models.registry import model_entry
from tests.places import DIGITS


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(read_checkpoint(DIGITS), str(DIGITS))


def test_the_committed_checkpoint_reads_digits(model: nn.Module) -> None:
    data = digits_split()
    held_out, labels = torch.from_numpy(data.held_out_images), torch.from_numpy(data.held_out_labels)
    assert train_digits.accuracy(model, held_out, labels) >= 0.98
    checkpoint = read_checkpoint(DIGITS)
    assert DIGITS.stat().st_size < 2**20
    assert torch.equal(checkpoint["example_input"], held_out[:4]) and checkpoint["labels"] == list("0123456789")


def test_it_uses_all_four_ideas(model: nn.Module) -> None:
    assert model_entry("digits").uses == ("rectified", "c2sp", "crelu", "proportional")
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(RectifiedConv2d) == 4 and kinds.count(SymmetricConv2d) == 2 and kinds.count(CReLU) == 1
    inner = [type(module) for module in model.proportional]
    assert inner == [RectifiedConv2d, nn.BatchNorm2d, RectifiedConv2d, nn.BatchNorm2d, nn.ReLU]
    assert sum(p.numel() for p in model.parameters()) == 52026


@pytest.mark.parametrize("size", [(8, 8), (5, 13), (1, 1), (40, 33)])
def test_other_sizes(model: nn.Module, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert model(torch.rand(3, 1, *size)).isfinite().all()
