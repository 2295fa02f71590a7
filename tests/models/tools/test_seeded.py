"""Seeded networks: equal for equal seeds, with outputs that vary, and precise enough to check an export with."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.tools.seeded import save_seeded, seeded_model
from rectexport.runtime.base.processor import processor


def test_a_seed_gives_the_same_network_and_leaves_the_random_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (seeded_model("digits", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.down[0].weight, other.down[0].weight)
    assert not one.training


@pytest.mark.parametrize("name", ["resnet50", "plain84", "convpool_cnn_c_crelu", "vgg13conv_crelu1"])
def test_float32_keeps_five_digits_at_any_depth(name: str) -> None:
    """BatchNorm and ReLU can amplify rounding exponentially with depth: an export could then never agree."""
    model = seeded_model(name, width=0.5)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    bound = 5e-6 if "avx512f" in processor().features else 1e-5  # 8e-6 is seen with AVX2
    with torch.no_grad():
        y, exact = model(x), copy.deepcopy(model).double()(x.double())
    assert (y - exact).norm() / exact.norm() < bound
    assert 0.01 < exact.std() < 100 and exact.std(0).mean() > 1e-3, "outputs vary between images"
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == 0.1 and module.running_mean.abs().min() > 0
            assert module.bias.std() > 0.05


def test_save_seeded_writes_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    save_seeded(path, "plain38_2to1", seed=3, num_classes=4, convs=(2, 2, 2), width=0.5)
    checkpoint = read_checkpoint(path)
    assert checkpoint["arguments"] == {"num_classes": 4, "convs": (2, 2, 2), "width": 0.5}
    x = checkpoint["example_input"]
    assert x.shape == (1, 3, 32, 32)
    again = seeded_model("plain38_2to1", 3, 4, convs=(2, 2, 2), width=0.5)
    with torch.no_grad():
        assert torch.equal(build(checkpoint)(x), again(x))
