"""Measured costs, and which entry a site takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rectexport.exporter.passes.lowering.machinery.costs import TARGETS, CostTable, load_costs
from rectexport.exporter.passes.lowering.machinery.form import Shape
from rectexport.runtime.errors import UsageError

SHAPE = Shape(1, 64, 64, 56, 56, 3, 1, 1, "float32")


def entry(ratio, **changes):
    usual = {"operator": "crelu", "form": "doubled", "kernel": 3, "channels": 64, "size": 56, "batch": 1}
    return {**usual, **changes, "ratio": ratio}


TABLE = CostTable(
    "target",
    {"description": "a machine"},
    [
        entry(0.5),
        entry(0.6, channels=256),
        entry(0.7, size=14),
        entry(0.8, batch=8),
        entry(0.9, kernel=1),
        entry(1.1, form="halves"),
    ],
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.5),
        ({"channels": 200}, 0.6),
        ({"height": 7, "width": 28}, 0.7),  # the geometric mean of both is 14
        ({"batch": 32}, 0.8),
        ({"kernel": 1}, 0.9),
        ({"channels": 0, "height": 0, "width": 0, "batch": 0}, 0.5),
        ({"kernel": 5}, None),
        ({"groups": 2}, None),
    ],
)
def test_the_nearest_entry_decides(changes, expected):
    assert TABLE.ratio("crelu", "doubled", replace(SHAPE, **changes)) == expected


def test_what_was_not_measured_has_no_cost():
    assert TABLE.ratio("crelu", "halves", SHAPE) == 1.1
    assert TABLE.ratio("crelu", "unheard", SHAPE) is None
    assert TABLE.ratio("rectify", "doubled", SHAPE) is None
    assert TABLE.ratio("crelu", "doubled", None) is None


@pytest.mark.parametrize("target", TARGETS)
def test_committed_tables(target):
    table = load_costs(target)
    assert table.description.startswith(f"{target}: ")
    for found in table.entries:
        assert found.keys() == {"operator", "form", "kernel", "channels", "size", "batch", "ratio"}
        assert found["ratio"] > 0


def test_an_unknown_target_is_named_with_those_known():
    with pytest.raises(UsageError, match=r"tensorflow.*expected one of onnxruntime, openvino, tensorrt, portable"):
        load_costs("tensorflow")


def test_a_form_that_costs_accuracy_is_not_taken_in_int8() -> None:
    quantized, floats = load_costs("onnxruntime", "int8"), load_costs("onnxruntime")
    assert quantized.ratio("crelu", "doubled", SHAPE) is not None
    for form in ("halves", "parted"):
        assert quantized.ratio("crelu", form, SHAPE) is None and floats.ratio("crelu", form, SHAPE) is not None
