"""The manifest says whether rows are independent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rectexport


class Net(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.answer = nn.Linear(4, 3), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.linear(x.float()))


WORDS = {
    "independent": lambda y: (y, y.argmax(1)),
    "dependent": lambda y: y / y.abs().max(),
    "not shown": lambda y: (y, y.sum()),
}


def rows(model: nn.Module, example: Tensor, out: Path, batch: bool = True) -> str:
    torch.manual_seed(0)
    shapes = ({0: torch.export.Dim("batch", min=1, max=8)},) if batch else None
    return rectexport.export(model.eval(), (example,), out, shapes, guard=False).manifest.rows


@pytest.mark.parametrize("word", WORDS)
def test_the_verdict_is_in_the_manifest(word: str, tmp_path: Path) -> None:
    assert rows(Net(WORDS[word]), torch.rand(2, 4), tmp_path / "net") == word


def test_integers_are_drawn_from_their_whole_range(tmp_path: Path) -> None:
    """An example of zeros and ones, as the command line makes it, has the same maximum in every row."""

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() / x.max()

    example = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]], dtype=torch.uint8)
    assert rows(Scaled(), example, tmp_path / "net") == "dependent"


def test_a_fixed_batch_shows_nothing(tmp_path: Path) -> None:
    assert rows(Net(WORDS["independent"]), torch.rand(2, 4), tmp_path / "net", batch=False) == "not shown"
