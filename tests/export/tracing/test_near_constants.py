"""Constants that torch.onnx's optimizer takes for 0 or 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rectexport


class Pointwise(nn.Module):
    """A function of an image, given as it would be written in a forward; `epsilon` may be a buffer."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("epsilon", torch.tensor(1e-9))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.epsilon)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, epsilon: x / (x.norm(dim=1, keepdim=True) + 1e-8),
        lambda x, epsilon: x / (x.norm() + 1e-8),
        lambda x, epsilon: torch.log(x.abs() + 1e-10),
        lambda x, epsilon: x / (x.abs() + epsilon),
    ],
)
def test_an_epsilon_stays_where_nothing_but_zero_shows_it(
    tmp_path: Path, function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    model = Pointwise(function)
    rectexport.export(model, (torch.randn(1, 3, 4, 4),), tmp_path / "net", guard=False)
    zeros = torch.zeros(1, 3, 4, 4)
    with rectexport.load(tmp_path / "net", backend="onnxruntime") as session:
        assert [entry.name for entry in session.inputs] == ["x"]
        np.testing.assert_allclose(session(zeros.numpy()), model(zeros).numpy(), rtol=1e-5)


def test_zero_and_one_are_dropped_as_before(tmp_path: Path) -> None:
    package = rectexport.export(Pointwise(lambda x, epsilon: (x + 0.0) * 1.0 + 2), (torch.randn(2),), tmp_path / "net")
    assert [node.op_type for node in onnx.load(package.path / "model.onnx").graph.node] == ["Add"]
