"""Rows that depend on each other are found, whatever the dependence; independent ones are not accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.batching.rows import batch_axis, judge_rows
from rectexport.runtime.errors import BadInput

RNG = np.random.default_rng(3)
IMAGES = RNG.random((2, 3, 6), dtype=np.float32)
Model = Callable[[Any], Any]


def verdict(model: Model, x: Any = IMAGES, unit: int = 1, largest: int = 16, tolerance: float = 1e-5) -> str:
    return judge_rows(lambda feeds: {"y": model(feeds["x"])}, [{"x": x}], unit, largest, tolerance).verdict


DEPENDENT: dict[str, Model] = {
    "by the maximum": lambda x: x / x.max(),
    "by a maximum that is seldom reached": lambda x: x / np.maximum(np.abs(x).max(), 40),
    "centred": lambda x: x - x.mean(0),
    "by the smallest": lambda x: x + np.minimum(x.min(), 0),
    "the fourth row before": lambda x: x + np.roll(x, 4, 0),
    "the last row": lambda x: x + x[-1:],
    "the number of rows": lambda x: x * len(x),
    "in large runs only": lambda x: x * (1.0 if len(x) < 12 else 1.1),
    "in one element": lambda x: np.where(np.arange(6) == 5, x.max(), x).astype(np.float32),
    "classes": lambda x: (x > x.mean()).astype(np.int64),
    "refused together": lambda x: x if len(x) == 1 else refuse(),
}
INDEPENDENT: dict[str, Model] = {
    "linear": lambda x: x * 3 - 1,
    "normalized by row": lambda x: (x - x.mean((1, 2), keepdims=True)) / (x.std((1, 2), keepdims=True) + 1e-5),
    "classes": lambda x: x.argmax(2),
    "rounding": lambda x: x * (1 + 1e-6 * len(x)),
    "positive only": lambda x: np.sqrt(x),
    "a number a row": lambda x: x.mean((1, 2)),
}


def refuse() -> None:
    raise BadInput("one at a time")


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependence_is_found(name: str) -> None:
    assert verdict(DEPENDENT[name]) == "dependent"


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_rows_are_not_accused(name: str) -> None:
    assert verdict(INDEPENDENT[name]) == "independent"


def test_integers_need_examples_of_other_values() -> None:
    def scaled(feeds: Any) -> Any:
        return {"y": feeds["x"] / np.float32(max(1, feeds["x"].max()))}

    bits, whole = np.array([[0, 1, 1, 0]], np.uint8), np.array([[3, 200, 90, 7]], np.uint8)
    assert judge_rows(scaled, [{"x": bits}, {"x": whole}], 1, 8, 1e-5).verdict == "dependent"


def test_a_low_precision_may_round_more() -> None:
    def rough(x: Any) -> Any:
        return x * (1 + 1e-3 * (len(x) > 1))

    assert verdict(rough, tolerance=1e-5) == "dependent"
    assert verdict(rough, tolerance=5e-3) == "independent"


def test_pairs_are_enough_and_requests_of_several_rows_stay_whole() -> None:
    assert verdict(lambda x: x / x.max(), largest=2) == "dependent"
    centred = lambda x: x - x.reshape(-1, 2, 3, 6).mean(1).repeat(2, 0)  # noqa: E731  # within a request
    assert verdict(centred, unit=2) == "independent"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_cannot_be_shown_is_said() -> None:
    assert verdict(lambda x: x, largest=1) == "not shown"
    assert verdict(lambda x: x.mean()) == "not shown"
    assert verdict(lambda x: x * np.float32("nan")) == "not shown"


def test_the_batch_is_one_dynamic_dimension() -> None:
    assert batch_axis([("n", 3), ("n",)])
    assert not batch_axis([("n", 3), ("m",)]) and not batch_axis([(2, 3)]) and not batch_axis([("n", 3), ()])
