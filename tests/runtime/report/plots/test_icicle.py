"""The plots of a profile and of a search, and documents that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.report.documents import Profiled, ProfiledLayer, Tried, Tuning
from rectexport.runtime.report.measurements import read_evaluation, read_profile, read_tuning
from rectexport.runtime.report.plots.icicle import WIDTH, icicle
from rectexport.runtime.report.plots.pareto import pareto_plot


def layer(name: str, module: str, ms: float, bound: str = "compute", reorder: bool = False) -> ProfiledLayer:
    return ProfiledLayer(name, module, ("batch_norm",), (), ms, ms / 10, bound, reorder)


def boxes(svg: str) -> dict[str, tuple[float, float, str]]:
    """Left, width and class of each box by its title."""
    found = {}
    for group in ElementTree.fromstring(svg):
        title, rect = group[0].text, group[1].attrib
        found[str(title).partition(":")[0]] = float(rect["x"]), float(rect["width"]), group.attrib["class"]
    return found


def test_boxes_are_as_wide_as_their_time_and_stand_under_their_modules() -> None:
    layers = (layer("a", "stem.0", 2.0), layer("<b>", "stem.1", 3.0, "memory"), layer("c", ".", 4.0, "", True))
    drawn = boxes(icicle(Profiled("onnxruntime", "an engine", 1, 10.0, 0.9, layers, {"framework": 1.0}, {})))
    unit = WIDTH / 10
    assert drawn["stem"] == (0, pytest.approx(5 * unit - 1), "box module")
    assert drawn["<b>"] == (2 * unit, pytest.approx(3 * unit - 1), "box memory")
    assert drawn["c"][2] == "box reorder" and drawn["framework"] == (9 * unit, unit - 1, "box outside")


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0, 0.0])
def test_times_that_are_none_are_not_drawn(ms: float) -> None:
    assert icicle(Profiled("onnxruntime", "an engine", 1, 1.0, 0.0, (layer("a", "m", ms),), {}, {})) == ""


def test_deep_modules_have_a_bounded_number_of_rows() -> None:
    svg = icicle(Profiled("onnxruntime", "e", 1, 1.0, 1.0, (layer("a", ".".join("m" * 10_000), 1.0),), {}, {}))
    assert len(svg) < 20_000


def test_only_the_widest_boxes_are_drawn_of_many() -> None:
    layers = tuple(layer(f"layer {index}", f"m.{index}", 1.0 + index) for index in range(100))
    drawn = boxes(icicle(Profiled("onnxruntime", "e", 1, 1.0, 1.0, layers, {}, {}), 21))
    assert sorted(drawn) == sorted(["m", *(f"{name}{index}" for name in ("layer ", "m.") for index in range(90, 100))])


def tried(name: str, p50: float | None, quality: float | None, **more: Any) -> Tried:
    return Tried(name, more.get("state", "slower"), "", p50, p50, 1.0, quality, 1.0, more.get("size", 10.0), True)


def test_the_chosen_candidate_is_marked_and_the_front_is_a_staircase() -> None:
    candidates = (tried("fast", 1.0, 98.0), tried("best", 2.0, 99.0), tried("bad", 3.0, 97.0), tried("none", None, 1.0))
    root = ElementTree.fromstring(pareto_plot(Tuning("best", "because", "latency", "top1", 1.0, candidates)))
    classes = [entry.attrib.get("class") for entry in root]
    assert classes.count("candidate chosen") == 1 and classes.count("candidate kept") == 2
    front = next(entry for entry in root if entry.attrib.get("class") == "front")
    assert front.attrib["d"].count("V") == 1
    assert pareto_plot(Tuning("", "", "", "", 1.0, (tried("a", float("nan"), 1.0),))) == ""


def test_an_axis_of_percentages_ends_at_100() -> None:
    equal = (tried("a", 1.0, 100.0), tried("b", 2.0, 100.0))
    for quality, beyond in (("top1", False), ("SNR, dB", True)):
        root = ElementTree.fromstring(pareto_plot(Tuning("a", "", "latency", quality, 1.0, equal)))
        ticks = [float(entry.text or "") for entry in root if entry.attrib.get("class") == "tick up"]
        assert len(ticks) > 1 and (max(ticks) > 100) == beyond


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layers": 1}', '{"data": null, "candidates": [{}]}', "[" * 9999])
def test_damaged_documents_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "document.json"
    path.write_text(content)
    for read in (read_profile, read_tuning, read_evaluation):
        with pytest.raises(BadInput, match=r"document\.json: expected a"):
            read(path)


def test_a_document_with_other_types_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    path.write_text(json.dumps({"description": "e", "batch": [], "wall_ms": 1, "attributed": 1, "layers": []}))
    with pytest.raises(BadInput):
        read_profile(path)
