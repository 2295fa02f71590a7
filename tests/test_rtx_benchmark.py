"""`make rtx-zoo`: what it keeps, what it repeats, and its table; nothing is built."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rtx import __main__ as rtx
from benchmarks.rtx import table
from benchmarks.rtx.cases import Case, cases, shape_options
from benchmarks.rtx.outcomes import Outcomes
from rectexport.models.registry import model_entry, model_names

KEYS = [case.key for case in cases()]
Script = Callable[[Sequence[str]], Iterator[dict[str, Any]]]


class Processes:
    """Stands for the children: each is given what it says, by the keys that it was asked for."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts, self.asked = list(scripts), []

    def __call__(self, arguments: Sequence[str]) -> Processes:
        self.asked.append(list(arguments[2:]))
        self.said = self.scripts.pop(0)(self.asked[-1])
        return self

    def lines(self, limit: float) -> Iterator[dict[str, Any]]:
        return self.said

    def end(self) -> str:
        return "Segmentation fault"


def good(outcome: str) -> Script:
    def script(keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        for key in keys:
            yield from ({"key": key, "outcome": "begun"}, {"key": key, "outcome": outcome})

    return script


def crashing(keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield {"key": keys[0], "outcome": "begun"}


def hanging(keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield {"key": keys[0], "outcome": "begun"}
    raise TimeoutError


def test_a_process_that_ends_costs_one_case(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path / "rtx.json")
    start = Processes(crashing, good("parsed"), good("built"), good("built"))
    rtx.run("net", "parse", outcomes, 10, start=start)
    assert start.asked == [KEYS, KEYS[1:]]
    assert outcomes.found["net"][KEYS[0]] == {"outcome": "crashed", "message": "Segmentation fault"}
    again = Outcomes.read(tmp_path / "rtx.json")
    assert again.found == outcomes.found
    rtx.run("net", "parse", again, 10, start=start)
    rtx.run("net", "build", again, 10, start=start)
    assert start.asked[2:] == [KEYS[1:]]
    rtx.run("net", "build", again, 10, retry=True, start=start)
    assert start.asked[3:] == [KEYS[:1]] and again.open("net", "build", retry=True) == []


def test_what_was_parsed_stays_so_where_the_build_takes_too_long(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path / "rtx.json")
    start = Processes(good("parsed"), hanging, good("built"))
    for stage in rtx.STAGES:
        rtx.run("net", stage, outcomes, 10, start=start)
    late = {"outcome": "parsed", "build": "took too long", "message": "not finished after 10 s"}
    assert outcomes.found["net"][KEYS[0]] == late and start.asked[2] == KEYS[1:]
    assert outcomes.open("net", "build") == [] and outcomes.open("net", "build", retry=True) == KEYS[:1]


def test_a_process_that_does_not_begin_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended before its first case: Segmentation fault"):
        rtx.run("net", "parse", Outcomes(tmp_path / "rtx.json"), 10, start=Processes(lambda keys: iter(())))


@pytest.mark.parametrize(
    ("source", "limit", "said"),
    [("print('{\"key\": 1}'); print('noise')", 20, [{"key": 1}]), ("import time; time.sleep(9)", 0.2, None)],
)
def test_a_child(monkeypatch: pytest.MonkeyPatch, source: str, limit: float, said: Any) -> None:
    popen = rtx.subprocess.Popen
    monkeypatch.setattr(rtx.subprocess, "Popen", lambda _, **how: popen([sys.executable, "-Sc", source], **how))
    child = rtx.Child(["net"])
    try:
        if said is None:
            with pytest.raises(TimeoutError):
                list(child.lines(limit))
        else:
            assert list(child.lines(limit)) == said
    finally:
        assert child.end()


def test_one_of_each_family_first() -> None:
    names = rtx.in_order(model_names())
    families = {model_entry(name).builder for name in names} - {"vgg.vgg"}
    assert {model_entry(name).builder for name in names[: len(families)]} == families
    assert names[0] == "digits" and sorted(names) == sorted(model_names())
    assert names[-4:] == ["vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]


def test_the_table() -> None:
    keys = [Case("dynamic", "plugin", precision).key for precision in ("fp32", "fp16")]
    late = {"outcome": "parsed", "build": "took too long", "message": "not finished after 10 s", "shapes": "batch"}
    results = {
        "a": {key: {"outcome": "built", "shapes": "dynamic"} for key in keys},
        "b": {keys[0]: late, keys[1]: {"outcome": "refused", "message": "no\n way"}},
        "c": {keys[0]: {"outcome": "parsed"}},
    }
    text = table.text(results, "1.7", ["a", "b", "c", "d"])
    assert "72 files of 4 networks, 5 were tried, 4 parsed and 2 built" in text and "1 networks take one size" in text
    assert "| dynamic | plugin | 3 / 1 | 1 / 1 | 0 / 0 |" in text
    assert f"- b, {keys[1]}: refused: no way" in text
    assert f"- b, {keys[0]}: took too long: not finished after 10 s" in text
    assert "Not tried yet: d." in text and "not built yet: c." in text


def test_the_results_of_the_repository() -> None:
    """The page shows what the file holds, and neither names a network that is not in the zoo."""
    outcomes = Outcomes.read()
    assert set(outcomes.found) <= set(model_names())
    page = (outcomes.path.parent / table.PAGE).read_text(encoding="utf-8")
    assert table.text(outcomes.found, outcomes.version, model_names()).strip() in page
    json.loads(outcomes.path.read_text(encoding="utf-8"))


def test_shapes() -> None:
    assert not shape_options("static", (3, 8, 8)).max
    assert shape_options("batch", (3, 8, 8)).max == ["input:4x3x8x8"]
    assert shape_options("dynamic", (3, 8, 8)).max == ["input:4x3x16x16"]
