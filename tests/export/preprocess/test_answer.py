"""An answer takes the place of one tensor, whatever it stands in."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch

from rectexport.exporter.base.processing import parse_answer
from rectexport.exporter.preprocess.answer import AnswerModule
from rectexport.runtime.errors import UsageError

Y = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])
Pair = namedtuple("Pair", "logits mask")


def answer(text: str, result: Any = Y) -> Any:
    return AnswerModule(parse_answer(text))(result)


def test_kinds() -> None:
    torch.testing.assert_close(answer("softmax"), Y.softmax(1))
    torch.testing.assert_close(answer("sigmoid"), Y.sigmoid())
    assert answer("argmax").tolist() == [1, 2]
    best = answer("topk=2")
    assert (best["values"].tolist(), best["indices"].tolist()) == ([[3.0, 2.0], [5.0, 0.0]], [[1, 2], [2, 0]])


def test_classes_of_a_map_are_its_channels() -> None:
    planes = torch.arange(24.0).reshape(1, 3, 2, 4)
    assert answer("argmax", planes).tolist() == [[[2] * 4] * 2]


def test_one_of_several() -> None:
    found = answer("logits:argmax", Pair(Y, Y))
    assert (type(found), found.logits.tolist()) == (Pair, [1, 2])
    assert found.mask is Y
    assert answer("aux.a:argmax", {"aux": {"a": Y}, "n": 3})["aux"]["a"].tolist() == [1, 2]
    assert answer("output_1:argmax", (Y, Y))[1].tolist() == [1, 2]
    assert answer("argmax", {"logits": Y, "n": 3})["n"] == 3


@pytest.mark.parametrize(
    ("text", "result", "message"),
    [
        ("softmax", (Y, Y), "the model has several outputs; say which, as in output_0:softmax"),
        ("head:softmax", {"logits": Y}, "no output 'head'; the model has logits"),
        ("topk=4", Y, "output='topk=4': the output has 3 classes"),
    ],
)
def test_answers_that_do_not_fit(text: str, result: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        answer(text, result)
