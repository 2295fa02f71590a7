"""Training of the digits network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rectexport.models import create_model
from rectexport.models.checkpoint import read_checkpoint
from rectexport.models.digits import train as train_digits


def test_training_learns_and_is_seeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.pt", "b.pt"):
        train_digits.main(["--epochs", "1", "--out", str(tmp_path / name)])
    assert "of 599 held-out images" in capsys.readouterr().out
    a, b = (read_checkpoint(tmp_path / name)["state_dict"] for name in ("a.pt", "b.pt"))
    fresh = create_model("digits").state_dict()
    for key in a:
        assert torch.equal(a[key], b[key])
    assert not torch.equal(a["down.0.weight"], fresh["down.0.weight"])
