"""`make rtx-zoo`: what it keeps, what it repeats, and its table; nothing is built."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rtx import __main__ as rtx
from benchmarks.rtx import table
from benchmarks.rtx.cases import Case, cases, shape_options

FORM, SHAPES = "auto", "static"
KEYS = [case.key for case in cases((SHAPES,), (FORM,))]


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A process that ends in its first case; the next one builds all that is open. Holds what each skipped."""
    monkeypatch.setattr(rtx, "RESULTS", tmp_path)
    skipped: list[list[str]] = []

    def process(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        skip = command[command.index("--skip") + 1 :]
        skipped.append(skip)
        lines = [{"key": key, "outcome": "built"} for key in KEYS if key not in skip]
        lines = [{"key": KEYS[0], "outcome": "begun"}] if len(skipped) == 1 else lines
        with Path(command[4]).open("a") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)
        return subprocess.CompletedProcess(command, -11, stderr="warnings\nSegmentation fault\n")

    monkeypatch.setattr(subprocess, "run", process)
    return skipped


def test_a_process_that_ends_costs_one_case(tried: list[list[str]]) -> None:
    rtx.run("net", 10, retry=False, shapes=SHAPES, forms=FORM)
    assert tried == [[], KEYS[:1]]
    found = rtx.results_of("net")
    assert found[KEYS[0]] == {"key": KEYS[0], "outcome": "crashed", "message": "Segmentation fault"}
    assert [found[key]["outcome"] for key in KEYS[1:]] == ["built"] * (len(KEYS) - 1)
    rtx.run("net", 10, retry=False, shapes=SHAPES, forms=FORM)
    assert len(tried) == 2
    rtx.run("net", 10, retry=True, shapes=SHAPES, forms=FORM)
    assert tried[2] == KEYS[1:] and rtx.results_of("net")[KEYS[0]]["outcome"] == "built"


def test_the_table() -> None:
    keys = [Case("dynamic", "plugin", precision).key for precision in ("fp32", "fp16")]
    results = {
        "a": {key: {"outcome": "built", "shapes": "dynamic"} for key in keys},
        "b": {keys[0]: {"outcome": "built", "shapes": "batch"}, keys[1]: {"outcome": "refused", "message": "no\n way"}},
        "c": {},
    }
    text = table.text(results)
    assert "3 of 4 files of 2 of the zoo's 3 networks" in text and "1 networks take one size" in text
    assert "| dynamic | plugin | 2 of 2 | 1 of 2 | 0 of 0 |" in text
    assert f"- b, {keys[1]}: refused: no way" in text


def test_shapes() -> None:
    assert not shape_options("static", (3, 8, 8)).max
    assert shape_options("batch", (3, 8, 8)).max == ["input:4x3x8x8"]
    assert shape_options("dynamic", (3, 8, 8)).max == ["input:4x3x16x16"]
