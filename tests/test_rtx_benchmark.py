"""`make rtx-zoo`: what it keeps, what it repeats, and its table; nothing is built."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from benchmarks.rtx import __main__ as rtx
from benchmarks.rtx import building, child, table
from benchmarks.rtx.attempt import Network, shape_options
from benchmarks.rtx.cases import Case, cases
from benchmarks.rtx.outcomes import Outcomes
from rectexport.models.registry import model_entry, model_names
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from tests.places import ROOT

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


def ending_in_the_build(keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for key in keys:
        yield from ({"key": key, "outcome": "begun"}, {"key": key, "outcome": "parsed"})
        yield {"key": key, "outcome": "parsed", "build": "crashed", "message": "exit -9"}


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


def test_a_build_that_ends_its_process_leaves_the_others(tmp_path: Path) -> None:
    outcomes, start = Outcomes(tmp_path / "rtx.json"), Processes(ending_in_the_build)
    rtx.run("net", "build", outcomes, 10, start=start)
    assert outcomes.open("net", "build") == []
    assert outcomes.found["net"][KEYS[0]] == {"outcome": "parsed", "build": "crashed", "message": "exit -9"}


def test_a_process_that_does_not_begin_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended before its first case: Segmentation fault"):
        rtx.run("net", "parse", Outcomes(tmp_path / "rtx.json"), 10, start=Processes(lambda keys: iter(())))


@pytest.mark.parametrize(
    ("source", "limit", "said"),
    [
        ("print('{\"key\": 1}'); print('noise')", 20, [{"key": 1}]),
        ("print('{\"key\": 1}')", None, [{"key": 1}]),
        ("import time; time.sleep(9)", 0.2, None),
    ],
)
def test_a_child(monkeypatch: pytest.MonkeyPatch, source: str, limit: float | None, said: Any) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(child.subprocess, "Popen", lambda _, **how: popen([sys.executable, "-Sc", source], **how))
    started = child.Child("module", ["net"])
    try:
        if said is None:
            with pytest.raises(TimeoutError):
                list(started.lines(limit))
        else:
            assert list(started.lines(limit)) == said
    finally:
        assert started.end()


def test_a_child_ends_with_its_parent() -> None:
    source = "import time; from benchmarks.rtx.child import *; end_with_parent(); say({'on': 1}); time.sleep(60)"
    started = subprocess.Popen([sys.executable, "-c", source], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    assert started.stdin and started.stdout and json.loads(started.stdout.readline()) == {"on": 1}
    started.stdin.close()  # as it is when the parent ends
    assert started.wait(20) == 1


class Builder:
    """Stands for the process that builds: says its lines, then its last message."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.said, self.jobs = lines, []

    def __call__(self, arguments: Sequence[str]) -> Builder:
        self.jobs.append(json.loads(arguments[0]))
        assert Path(self.jobs[-1][0]).is_file()
        return self

    def lines(self) -> Iterator[dict[str, Any]]:
        return iter([dict(line) for line in self.said])

    def end(self) -> str:
        return "exit -9"


PARSER = {"outcome": "parsed", "layers": 3, "parse_s": 0.1}
BUILDER = {**PARSER, "outcome": "built", "bytes": 8, "build_s": 2.0, "peak_bytes": 2**30}


def test_the_process_that_builds_holds_no_exporter() -> None:
    source = "import sys, benchmarks.rtx.building; print({'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, stdout=-1, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network("digits", tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize(
    ("said", "build", "expected"),
    [
        ((PARSER, BUILDER), True, BUILDER),
        ((PARSER,), False, PARSER),
        ((PARSER,), True, {**PARSER, "build": "crashed", "message": "exit -9"}),
        ((), True, {"outcome": "crashed", "message": "exit -9"}),
        (({"outcome": "refused", "message": "no"},), True, {"outcome": "refused", "message": "no"}),
    ],
)
def test_an_attempt_keeps_what_the_builder_says(digits: Network, said: Any, build: bool, expected: Any) -> None:
    builder, parsed = Builder(*said), []
    digits.start, digits.build, digits.parsed = builder, build, parsed.append
    result = digits.attempt(Case("dynamic", "plugin", "fp16"))
    graph = {key: result.pop(key) for key in ("shapes", "model", "nodes")}
    assert result == expected and graph["shapes"] == "dynamic"
    assert parsed == [{**graph, **PARSER}] * (build and PARSER in said)
    ((_, *job),) = builder.jobs
    assert job == ["fp16", True, {"input": [[1, 1, 8, 8], [2, 1, 8, 8], [4, 1, 16, 16]]}, build]


@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_a_file_in_int8(digits: Network, precision: str) -> None:
    """It has Q/DQ nodes, and float16 between them where that is asked for; the builder is told int8."""
    digits.start = builder = Builder(PARSER)
    assert digits.attempt(Case("static", "auto", precision))["nodes"] > 0
    ((path, *job),) = builder.jobs
    assert job[0] == "int8"
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node].count("QuantizeLinear") > 1
    casts = {onnx.helper.get_node_attr_value(node, "to") for node in graph.node if node.op_type == "Cast"}
    assert (onnx.TensorProto.FLOAT16 in casts) == ("fp16" in precision)


@pytest.mark.parametrize("build", [False, True])
def test_the_steps_of_a_build(monkeypatch: pytest.MonkeyPatch, build: bool) -> None:
    """The profile arrives as it was, and both steps are timed."""
    profile = {"x": ShapeRange((1, 2), (2, 2), (4, 2))}
    given = []
    monkeypatch.setattr(building.versions, "installed_rtx", lambda: None)
    monkeypatch.setattr(building, "count_layers", lambda model, options, api: given.append((model, options)) or 3)
    monkeypatch.setattr(building, "build_engine", lambda *_, targets: b"engine")
    found = list(building.steps(building.job(Path("a.onnx"), "bf16", True, profile, build)))
    ((model, options),) = given
    assert model == building.Model(Path("a.onnx"), "bf16", functions=True) and options.profiles == (profile,)
    assert [step["outcome"] for step in found] == ["parsed", "built"][: 1 + build]
    assert found[0]["layers"] == 3 and found[0]["parse_s"] >= 0
    if build:
        assert found[1]["bytes"] == 6 and found[1]["build_s"] >= 0 and found[1]["peak_bytes"] > 2**20


@pytest.mark.parametrize("stage", ["count_layers", "build_engine"])
def test_a_refusal_ends_the_steps(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BadInput("a.onnx: no")

    monkeypatch.setattr(building.versions, "installed_rtx", lambda: None)
    monkeypatch.setattr(building, "count_layers", lambda *_: 3)
    monkeypatch.setattr(building, stage, refuse)
    *before, last = building.steps(building.job(Path("a.onnx"), "fp32", False, {}, True))
    assert len(before) == (stage == "build_engine") and last == {"outcome": "refused", "message": "a.onnx: no"}


def test_one_of_each_family_first() -> None:
    names = rtx.in_order(model_names())
    families = {model_entry(name).builder for name in names} - {"vgg.vgg"}
    assert {model_entry(name).builder for name in names[: len(families)]} == families
    assert names[0] == "digits" and sorted(names) == sorted(model_names())
    assert names[-4:] == ["vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]


def test_the_table() -> None:
    keys = [Case("dynamic", "plugin", precision).key for precision in ("fp32", "fp16")]
    late = {"outcome": "parsed", "build": "took too long", "message": "not finished after 10 s", "shapes": "batch"}
    costs = {"build_s": 9.6, "peak_bytes": 3 * 2**29}
    results = {
        "a": {key: {"outcome": "built", "shapes": "dynamic", "model": key} for key in keys},
        "b": {keys[0]: late, keys[1]: {"outcome": "refused", "message": "no\n way"}},
        "c": {keys[0]: {"outcome": "parsed", "model": keys[0]}},
    }
    text = table.text(results, "1.7", ["a", "b", "c", "d"])
    assert "Seconds" not in text
    results["a"][keys[1]] |= costs
    text = table.text(results, "1.7", ["a", "b", "c", "d"])
    assert f"known of 1 builds: at most 10 s (a, {keys[1]}) and 1.5 GiB (a, {keys[1]})" in text
    assert "120 files of 4 networks, 5 were tried, 4 parsed and 2 built" in text
    assert "They are 2 different files" in text and "(networks: 1)" in text
    assert "| dynamic | plugin | 3 / 1 | 1 / 1 | 0 / 0 | 0 / 0 | 0 / 0 |" in text
    assert f"- b, {keys[1]}: refused: no way" in text
    assert f"- b, {keys[0]}: took too long: not finished after 10 s" in text
    assert "Not tried yet: d." in text and "not built yet: c." in text
    built = {name: {case.key: {"outcome": "built"} for case in cases()} for name in ("a", "b")}
    del built["b"]["static auto fp32"]
    said = table.complete({**results, **built}, {"a": "one", "b": "two", "c": "two", "d": "three"})
    assert said == "Every file of at least one network was built in 1 of 3 families; not of three, two."


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
