"""How far an output may be from its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rectexport.exporter.checking.tolerance import RELATIVE_L2, Tolerance, parse_bounds
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.errors import UsageError

WANTED = np.array([[1.0, -2.0, 0.0, 100.0]])


def failure(tolerance: Tolerance, actual: Any, wanted: Any = WANTED, output: str = "y") -> str | None:
    wanted, actual = np.asarray(wanted, np.float64), np.asarray(actual, np.float32)
    return tolerance.failure(output, compare(wanted, actual), wanted, actual)


def test_defaults() -> None:
    assert RELATIVE_L2 == {"fp32": 1e-5, "fp16": 5e-3, "bf16": 2e-2}


def test_relative_l2() -> None:
    assert failure(Tolerance(1e-5), WANTED) is None
    assert failure(Tolerance(1e-5), WANTED * (1 + 9e-6)) is None
    assert failure(Tolerance(1e-5), WANTED * (1 + 2e-5)) == "y: relative L2 2.0e-05, allowed 1e-05"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    broken = WANTED.copy()
    broken[0, 1] = value
    assert failure(Tolerance(1.0), broken) == "y: relative L2 inf, allowed 1e+00"
    assert failure(Tolerance(1e-5), broken, broken) is None
    assert failure(Tolerance(1e-5, {"": 0.0}), broken, broken) is None


def test_absolute_bound() -> None:
    off = WANTED + np.array([[0, 0, 2e-4, 0]])
    assert failure(Tolerance(1e-5), off) is None
    assert failure(Tolerance(1e-5, {"": 3e-4}), off) is None
    assert failure(Tolerance(1e-5, {"": 1e-4}), off) == "y: 1 of 4 elements outside atol 0.0001, rtol 0"


def test_relative_bound() -> None:
    off = WANTED * (1 + 5e-6)
    assert failure(Tolerance(1e-5, rtol={"": 1e-5}), off) is None
    assert failure(Tolerance(1e-5, rtol={"": 1e-6}), off) == "y: 3 of 4 elements outside atol 0, rtol 1e-06"


def test_both_bounds_add_up() -> None:
    off = WANTED + np.array([[1.5e-4, 0, 0, 0]])
    assert failure(Tolerance(1.0, {"": 1e-4}, {"": 1e-4}), off) is None
    assert failure(Tolerance(1.0, {"": 1e-4}, {"": 1e-5}), off) is not None


def test_bounds_of_one_output() -> None:
    off = WANTED + 1e-4
    tolerance = Tolerance(1.0, {"": 1.0, "y": 1e-5}, {"z": 0.0})
    assert failure(tolerance, off, output="y") == "y: 4 of 4 elements outside atol 1e-05, rtol 0"
    assert failure(tolerance, off, output="x") is None
    assert failure(Tolerance(1.0, {"x": 1e-9}), off, output="y") is None


def test_for_the_manifest() -> None:
    tolerance = Tolerance(1e-5, {"": 1e-4, "logits": 1e-3}, {"logits": 0.0})
    assert tolerance.as_dict() == {"relative_l2": 1e-5, "atol": 1e-4, "atol:logits": 1e-3, "rtol:logits": 0.0}


@pytest.mark.parametrize(
    ("texts", "bounds"),
    [
        ([], {}),
        (["1e-4"], {"": 1e-4}),
        (["0"], {"": 0.0}),
        (["logits:1e-4", "0.5"], {"logits": 1e-4, "": 0.5}),
        (["a:1,b:2", "c:d:3"], {"a": 1.0, "b": 2.0, "c:d": 3.0}),
    ],
)
def test_parse(texts: list[str], bounds: dict[str, float]) -> None:
    assert parse_bounds(texts, "--atol") == bounds


@pytest.mark.parametrize("text", ["", "x", "-1", "logits:", "logits:-0.1", "nan", "inf", "1,,2", "1e-4 x"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(UsageError, match=r"--rtol .*: expected a number >= 0, or OUTPUT:NUMBER"):
        parse_bounds([text], "--rtol")
