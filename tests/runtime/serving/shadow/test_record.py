"""The counts of a shadow, and their report."""

from __future__ import annotations

import json

import numpy as np

from rectexport.runtime.serving.shadow.record import Record

NAN = float("nan")


def test_the_first_request_that_differs_is_told_once() -> None:
    record = Record(["y", "class"], [False, True], 0.01)
    assert not record.add(np.array([[0.001, 0.009, 0.001, 0.001], [0.0, NAN, NAN, NAN]]))
    assert record.in_words() == "1 compared, all within 1.0e-02"
    assert record.add(np.array([[0.002, 0.02, 0.001, 0.001], [0.0, NAN, NAN, NAN]]))
    assert not record.add(np.array([[np.inf, NAN, NAN, NAN], [0.5, NAN, NAN, NAN]]))
    found = record.as_dict()
    assert (found["compared"], found["differing"], found["first_differing"]) == (3, 2, 2)
    assert found["outputs"]["y"]["corner"] == {"differing": 1, "mean": (0.009 + 0.02) / 2, "worst": 0.02}
    assert found["outputs"]["y"]["all"]["worst"] is None  # infinite, which JSON has no number for
    assert found["outputs"]["class"]["all"]["differing"] == 1  # integers must be equal
    json.dumps(found, allow_nan=False)


def test_a_record_in_words() -> None:
    record = Record(["y"], [False], 0.01, dropped=3, failed=1)
    assert record.in_words() == "0 compared, 3 dropped, 1 failed"
    record.add(np.array([[0.002, 0.02, 0.5, 0.001]]))
    assert record.in_words().endswith("1 differ: output y by up to 5.0e-01 in region edge, allowed 1.0e-02")
