"""What a network is made of, in numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rectexport.models import RectifiedConv2d, create_model
from rectexport.models.tools.count import macs, parameters, rectified_layers


def test_macs_by_hand_leave_the_model_as_it_was() -> None:
    model = create_model("digits").train()
    by_hand = 64 * (16 * 25 + 32 * 32 * 9 * 2) + 16 * 48 * (32 * 9 + 2 * 48 * 4) + 480
    assert macs(model, (1, 8, 8)) == by_hand
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_macs_of_groups_and_linear_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 6, (3, 1), 2, (1, 0), groups=2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(90, 7)
    )
    assert macs(model, (4, 10, 5)) == 6 * 5 * 3 * (3 * 2) + 90 * 7
    assert macs(model.to("meta"), (4, 10, 5)) == 6 * 5 * 3 * (3 * 2) + 90 * 7


def test_hooks_are_taken_off_where_the_model_fails() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3)).train()
    with pytest.raises(RuntimeError):
        macs(model, (3, 10, 5))
    assert model.training and not model[0]._forward_hooks


def test_what_is_shared_counts_once() -> None:
    conv = RectifiedConv2d(2, 2, 3, padding=1)
    model = nn.Sequential(conv, nn.Conv2d(2, 2, 3, padding=1), conv)
    model[1].weight = conv.weight
    assert parameters(model) == 36 + 2 + 2
    assert rectified_layers(model) == 1
    model[1].register_buffer("extra", torch.zeros(5))
    assert parameters(model) == 40
