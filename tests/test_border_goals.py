"""The benchmark of borders and masks against their goals; nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.borders import goals, goals_page
from rectexport.runtime.timing.stopwatch import Timing

MACHINE = {"processor": "p", "cores": 2, "onnxruntime": "1", "openvino": "2"}


def chain(ratio: float, noise: float, **more: Any) -> dict[str, Any]:
    forms = {"as_written": [2.0, 0.1], "chain": [ratio, noise]}
    row = {"border": "circular", "engine": "openvino", "channels": 32, "plane": [96, 192], "chosen": "chain"}
    return {**row, "forms": forms, "as_written": [0.5, 0.02], **more}


def document(**more: Any) -> dict[str, Any]:
    masked = {"size": 256, "engine": "onnxruntime", "ms": {"plain": 5.0, "branch": 1.0, "masked": 6.3}}
    parity = [{"engine": "openvino", "size": [301, 259], "known": known, "error": 8e-7} for known in goals.MASKS]
    found = {"machine": MACHINE, "date": "2026-01-01", "seconds": 1290, "chains": [chain(1.02, 0.01)]}
    return {**found, "masked": [{**masked, "ratio": [1.05, 0.01]}], "parity": parity, **more}


def test_a_goal_is_met_missed_or_open() -> None:
    assert [goals_page.verdict(pair, 1.05) for pair in ((1.02, 0.02), (1.04, 0.02), (1.09, 0.03))] == [
        "met", "open", "missed",
    ]  # fmt: skip
    assert goals_page.verdict((1.0, 0.0), 1.0) == "met"


def test_the_section_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / goals_page.PAGE
    page.write_text("before\n<!-- border-goals -->\nold\n<!-- /border-goals -->\nafter\n", encoding="utf-8")
    goals_page.write(document(), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "Chains within their goal: 1 of 1; slower than as written: 0." in text
    row = "| circular | OpenVINO | 32 | 96×192 | chain | 1.020 ± 0.010 | 1.05 | met | 0.500 ± 0.020 |"
    assert row in text
    assert "| 256×256 | ONNX Runtime | 5.00 + 1.00 | 6.30 | 1.050 ± 0.010 | 1.10 | met |" in text
    assert "| 301×259 | OpenVINO | 8.0e-07 | 8.0e-07 | 8.0e-07 | 8.0e-07 | 1e-05 | met |" in text


def test_the_page_has_the_marks() -> None:
    text = (goals.DOCS / goals_page.PAGE).read_text(encoding="utf-8")
    assert text.index("<!-- border-goals -->") < text.index("<!-- /border-goals -->")


def test_the_largest_chains_are_measured_first_and_listed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def measure(models: dict[str, bytes], engine: str, seconds: float) -> dict[str, Timing]:
        seen.append(len(models))
        return {name: Timing((2.0 if name == "as_written" else 1.0,) * 4) for name in models}

    monkeypatch.setattr(goals.stopwatch, "measure", measure)
    cases = [
        goals.Case(case.kind, goals.Chain(2, size, 1, 2, size)) for case in goals.grid(True)[:2] for size in (6, 8)
    ]
    order = [goals._work(case) for case in cases]
    rows = goals.chain_rows(cases, ["onnxruntime"], 1.0)
    assert [row["plane"] for row in rows] == [[6, 6], [8, 8]] * 2 and order[0] < order[1]
    assert seen == [5, 4, 5, 4]  # 8 × 8 of both borders, then 6 × 6; "pad" is a form of the first alone
    assert {row["as_written"][0] for row in rows} <= {1.0, 0.5} and json.dumps(rows)


def test_the_twin_and_the_branch_are_added_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"masked": Timing((6.0, 9.0, 6.0)), "plain": Timing((4.0, 8.0, 4.0)), "branch": Timing((1.0, 1.0, 1.0))}
    monkeypatch.setattr(goals, "mask_branch", lambda model: None)
    monkeypatch.setattr(goals, "serialized", lambda models: models)
    monkeypatch.setattr(goals.stopwatch, "measure", lambda *parts, **named: times)
    assert goals.masked_row(None, None, 256, "openvino", 1.0)["ratio"][0] == 1.2  # type: ignore[arg-type]
