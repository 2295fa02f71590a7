"""Tolerances go into a manifest and come out again."""

from __future__ import annotations

import numpy as np

from rectexport.runtime.metrics import compare
from rectexport.runtime.tolerance import Tolerance


def test_what_is_written_is_read() -> None:
    tolerance = Tolerance(1e-5, {"": 1e-4, "a:b": 0.0}, {"logits": 1e-3})
    written = tolerance.as_dict()
    assert written == {"relative_l2": 1e-5, "atol": 1e-4, "atol:a:b": 0.0, "rtol:logits": 1e-3}
    assert Tolerance.from_dict(written) == tolerance
    assert Tolerance.from_dict({"relative_l2": 0.5}) == Tolerance(0.5)


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
