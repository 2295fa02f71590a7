"""The digits network, its data and its committed checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d, create_model
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits import accuracy as digits_accuracy
from rectexport.models.digits import train as train_digits
from rectexport.models.digits.data import digits_split
from rectexport.models.registry import model_entry
from tests.places import DIGITS


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(read_checkpoint(DIGITS), str(DIGITS))


def test_the_split_is_fixed_and_stratified() -> None:
    first, second = digits_split(), digits_split()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first.train_images.shape == (1198, 1, 8, 8) and first.held_out_images.shape == (599, 1, 8, 8)
    assert first.train_images.dtype == np.float32 and first.train_labels.dtype == np.int64
    assert first.train_images.min() == 0 and first.train_images.max() == 1
    assert np.ptp(np.bincount(first.held_out_labels)) <= 4
    together = np.concatenate([first.train_images, first.held_out_images]).reshape(1797, -1)
    assert len(np.unique(together, axis=0)) == 1797


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


def test_training_learns_and_is_seeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.pt", "b.pt"):
        train_digits.main(["--epochs", "1", "--out", str(tmp_path / name)])
    assert "of 599 held-out images" in capsys.readouterr().out
    a, b = (read_checkpoint(tmp_path / name)["state_dict"] for name in ("a.pt", "b.pt"))
    fresh = create_model("digits").state_dict()
    for key in a:
        assert torch.equal(a[key], b[key])
    assert not torch.equal(a["down.0.weight"], fresh["down.0.weight"])


class FakeSession:
    """A package's session that computes with the model itself, off by one image if wrong."""

    def __init__(self, model: nn.Module, batch: int | str, wrong: bool) -> None:
        self.model, self.batch, self.wrong = model, batch, wrong
        shape = SimpleNamespace(shape=[batch, 1, 8, 8])
        self.package = SimpleNamespace(manifest=SimpleNamespace(inputs=[shape]))

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert self.batch in ("batch", len(images))
        with torch.no_grad():
            return np.roll(self.model(torch.from_numpy(images)).numpy(), int(self.wrong), axis=0)


@pytest.mark.parametrize("batch", ["batch", 64])
@pytest.mark.parametrize("wrong", [False, True])
def test_the_accuracy_script_compares_with_a_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: nn.Module, batch: Any, wrong: bool
) -> None:
    fake = SimpleNamespace(load=lambda path: FakeSession(model, batch, wrong))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rectexport", fake)
        status = digits_accuracy.main([str(DIGITS), "out/digits"])
    assert status == (3 if wrong else 0)
    assert ("agree on 599 of 599" in capsys.readouterr().out) != wrong
