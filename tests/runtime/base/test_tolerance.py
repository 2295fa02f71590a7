"""Tolerances in the manifest, and their use."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.tolerance import Tolerance


@pytest.mark.parametrize(
    "bounds",
    [
        Tolerance(1e-5),
        Tolerance(5e-3, {"": 1e-3, "a:b": 0.0}),
        Tolerance(0.0, {"y": 1.0}, {"": 1e-2, "z": 2.0}),
        Tolerance(1e-3, layers={"a:b": 0.2}),
    ],
)
def test_tolerances_round_trip_through_the_manifest(bounds: Tolerance) -> None:
    assert Tolerance.from_dict(bounds.as_dict()) == bounds


def test_a_manifest_without_bound_allows_nothing() -> None:
    one, other = np.ones(3), np.ones(3) * (1 + 1e-12)
    assert Tolerance.from_dict({}).failure("y", compare(one, other), one, other)
    assert Tolerance.from_dict({}).failure("y", compare(one, one), one, one) is None


def test_documents_are_strict_json() -> None:
    inf = float("inf")
    assert strict({"a": [1.5, inf, (-inf, None)], "b": {"c": float("nan")}}) == {
        "a": [1.5, "inf", ["-inf", None]],
        "b": {"c": "nan"},
    }


def test_bounds_read_back_are_applied() -> None:
    wanted = np.ones(4, np.float32)
    got = wanted + np.float32(1e-3)
    for entries, misses in (
        ({"relative_l2": 1e-2}, False),
        ({"relative_l2": 1e-4}, True),
        ({"relative_l2": 1e-2, "atol": 1e-4}, True),
        ({"relative_l2": 1e-2, "atol": 1e-4, "atol:y": 1e-2}, False),
        ({"relative_l2": 1e-2, "rtol:z": 1e-4}, False),
    ):
        failure = Tolerance.from_dict(entries).failure("y", compare(wanted, got), wanted, got)
        assert (failure is not None) == misses, entries


def test_where_zeros_are_expected_each_element_has_the_bound() -> None:
    wanted, bound = np.zeros((1, 2, 3, 3), np.float32), Tolerance(1e-5)
    for off, misses in ((1e-15, False), (1e-5, False), (2e-5, True), (np.nan, True), (np.inf, True)):
        got = wanted.astype(np.float64)
        got[0, 1, 2, 0] = off
        assert (bound.failure("y", compare(wanted, got), wanted, got) is not None) == misses, off
    almost = wanted.copy()
    almost[0, 0, 0, 0] = 1e-12
    assert bound.failure("y", compare(almost, almost * 2), almost, almost * 2)
