"""The script that compares a checkpoint's classes with its package's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rectexport
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits import accuracy as digits_accuracy
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.package.manifest import TensorEntry
from tests.places import DIGITS


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(read_checkpoint(DIGITS), str(DIGITS))


class FakeSession:
    """A package's session that computes with the model itself, off by one image if wrong."""

    def __init__(self, model: nn.Module, batch: int | str, wrong: bool) -> None:
        self.model, self.batch, self.wrong = model, batch, wrong
        self.backend = Choice("fake", "a fake engine")
        self.inputs = (TensorEntry("x", "float32", (batch, 1, 8, 8)),)
        outputs = (TensorEntry("logits", "float32", (batch, 10)),)
        data = {"options": {"precision": "fp32"}}
        manifest = SimpleNamespace(inputs=self.inputs, outputs=outputs, data=data, structure=None)
        self.package = SimpleNamespace(manifest=manifest)

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = feeds["x"]
        assert self.batch in ("batch", len(images))
        with torch.no_grad():
            return {"logits": np.roll(self.model(torch.from_numpy(images)).numpy(), int(self.wrong), axis=0)}


@pytest.mark.parametrize("batch", ["batch", 64])
@pytest.mark.parametrize("wrong", [False, True])
def test_the_accuracy_script_compares_with_a_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: nn.Module, batch: Any, wrong: bool
) -> None:
    monkeypatch.setattr(rectexport, "load", lambda path, backend: FakeSession(model, batch, wrong))
    status = digits_accuracy.main([str(DIGITS), "out/digits"])
    assert status == (3 if wrong else 0)
    said = capsys.readouterr().out
    assert ("agree on 599 of 599" in said) != wrong
    assert "of 599 held-out images" in said and "out/digits  " in said
