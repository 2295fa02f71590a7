"""Outputs are written into arrays that the caller gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.errors import BadInput
from rectexport.runtime.session import Session
from tests.runtime.tiny import dynamic_package

IMAGE = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with load(dynamic_package(tmp_path / "tiny").path, "onnxruntime", threads=1) as opened:
        yield opened


def test_outputs_are_written_into_given_arrays(session: Session) -> None:
    expected = session(IMAGE)
    for target in (np.zeros_like(expected), np.zeros((1, 1, 8, 16), np.float32)[..., ::2]):
        results = session.run({"x": IMAGE}, {"y": target})
        assert results["y"] is target
        np.testing.assert_array_equal(target, expected)
    results = session.run({"x": IMAGE}, {})
    np.testing.assert_array_equal(results["y"], expected)


def test_outputs_are_written_into_given_torch_tensors(session: Session) -> None:
    torch = pytest.importorskip("torch")
    target = torch.zeros((1, 1, 8, 8))
    assert session.run({"x": torch.from_numpy(IMAGE)}, {"y": target})["y"] is target
    np.testing.assert_array_equal(target.numpy(), session(IMAGE))
    with pytest.raises(BadInput, match=r"^out y: expected a NumPy array, as the inputs are, got PyTorch$"):
        session.run({"x": IMAGE}, {"y": target})
    with pytest.raises(BadInput, match=r"^out y: requires a gradient"):
        session.run({"x": torch.from_numpy(IMAGE)}, {"y": target.requires_grad_()})


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("z", np.zeros(1), "no output named 'z'; the model gives y"),
        ("y", [0.0], "out y: expected a NumPy array, as the inputs are, got list"),
        ("y", np.zeros((1, 1, 8, 8)), "out y: expected dtype float32, got float64"),
        ("y", np.broadcast_to(np.float32(0), (1, 1, 8, 8)), "out y: is read-only"),
        ("y", np.zeros((1, 1, 8, 9), np.float32), "out y: expected shape [1, 1, 8, 8], got [1, 1, 8, 9]"),
    ],
)
def test_output_arrays_that_do_not_fit_are_refused(session: Session, name: str, target: object, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        session.run({"x": IMAGE}, {name: target})
    assert str(refused.value) == said
