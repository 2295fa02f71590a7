"""The line that an export prints about its passes."""

from __future__ import annotations

import pytest

from rectexport.exporter.base.options import TARGETS, ExportOptions
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.precision import bfloat16, half
from rectexport.exporter.passes.summary import LEFT_OUT, WORDS, summarize
from rectexport.exporter.targets import all_passes


def result(name: str, count: int) -> PassResult:
    return PassResult(name, ("node",) * count)


def test_what_fired_is_counted_in_words() -> None:
    counts = {"raise": 0, "batch_norm": 4, "lower_symmetric_conv": 2, "lower_crelu": 1, "lower_rectify": 2}
    counts |= {"rectify_fold": 2, "rectify_graph": 0, "inline": 3, "cleanup": 5}
    line = summarize(result(name, count) for name, count in counts.items())
    assert line == "9 passes: 4 rectifications folded, 2 even kernels, 1 CReLU, 4 BatchNorms"


@pytest.mark.parametrize(
    ("results", "line"),
    [
        ([result("cleanup", 2)], "1 pass: nothing to rewrite"),
        ([result("raise_avr", 2), result("raise_crelu", 1)], "2 passes: 3 operators found"),
        (
            [result("rectify_graph", 1), result("mine", 2)],
            "2 passes: 1 rectification computed from the shapes, 2 by mine",
        ),
    ],
)
def test_nothing_and_a_pass_without_words(results: list[PassResult], line: str) -> None:
    assert summarize(results) == line


def test_every_pass_has_words() -> None:
    options = [ExportOptions(target=target, rectify=form) for target in TARGETS for form in ("auto", "plugin")]
    names = {entry.name for chosen in options for entry in all_passes(chosen)}
    assert names | {half.NAME, bfloat16.NAME} == WORDS.keys() | set(LEFT_OUT)
