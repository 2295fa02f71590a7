"""Values in a notebook: one element with its style kept to itself, made from the report's templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.evaluation.differences import Differences
from rectexport.runtime.evaluation.evaluate import Answers, Evaluation
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.outcome import ParityOutcome
from rectexport.runtime.parity.reports import CaseReport, compare_layer, compare_outputs
from rectexport.runtime.report.notebook import VIEWS, as_html
from rectexport.runtime.timing.bench import BenchResult
from tests.runtime.report.conftest import latency_document
from tests.runtime.report.page_reader import Element, read_page

pytest.importorskip("jinja2")


def shown(value: Any) -> Element:
    html = value._repr_html_()
    assert html is not None
    root = read_page(html)
    (whole,) = root.children
    assert whole.attributes == {"class": "rectexport"} and not root.all("script")
    style = whole.all("style")[0].text
    assert style.startswith("@scope (.rectexport) {") and ":root" not in style
    return whole


@pytest.fixture
def package(write: Callable[..., Path]) -> Package:
    return Package.open(write("<b>net"))


def outcome(wrong: float = 0.0) -> ParityOutcome:
    expected = {"y": np.ones((1, 2, 6, 6), np.float32)}
    actual = {"y": expected["y"] + np.float32(wrong)}
    tolerance = Tolerance.from_dict({"relative_l2": 1e-5})
    case = CaseReport("example", {"x": (1, 1, 6, 6)}, reference="PyTorch")
    compare_outputs(case, expected, actual, tolerance)
    case.layers.append(compare_layer("t", "stem.conv", expected["y"], actual["y"]))
    return ParityOutcome(tolerance, [case])


def test_a_package(package: Package) -> None:
    html = shown(package)
    assert "<b>net: x float32[batch, 3, 8, 8] -> logits" in html.text
    assert "model size" in html.text and "2×3×8×8" in html.text
    assert repr(package.manifest) == "<Manifest of 4 files: x float32[batch, 3, 8, 8] -> logits float32[batch, 10]>"
    assert "numpy 2.4.6" in shown(package.manifest).text


def test_a_session(package: Package) -> None:
    session = SimpleNamespace(package=package, closed=False, backend=SimpleNamespace(description="an engine"))
    html = as_html("session", session)
    assert html is not None and "Engine: an engine" in html
    assert "Engine: closed" in str(as_html("session", SimpleNamespace(**{**vars(session), "closed": True})))


def test_of_a_package_with_damaged_documents_the_inputs_are_shown(package: Package) -> None:
    (package.path / "parity.json").write_text("{}")
    html = shown(package)
    assert "2×3×8×8" in html.text and "model size" not in html.text


def test_parity_that_passes_and_fails() -> None:
    good, bad = outcome(), outcome(0.5)
    assert repr(good) == "<ParityOutcome: agrees; 1 cases, 1 inner tensors, 0 checks>"
    assert repr(bad).startswith("<ParityOutcome: differs in 1 places, first example: y: ")
    assert shown(good).all(cls="good") and not shown(good).all(cls="bad")
    assert "FAILED example: y: " in shown(bad).text and shown(bad).all("svg")


def test_bench() -> None:
    result = BenchResult(latency_document())
    assert repr(result).startswith("<BenchResult of net: net takes 1.062 of twin, batch 1: slower; net takes 0.250 of")
    assert "net takes 0.250 (0.200 to 0.500) of the time of net.pt, batch 1: faster" in shown(result).text
    assert len(shown(result).all("svg")) == 3


def test_evaluation() -> None:
    engine = Answers("an engine", 75.0, None, Differences())
    result = Evaluation("photos", 4, "logits", "top1", "points", None, Answers("PyTorch", 100.0), [engine])
    assert repr(result) == "<Evaluation of 4 items of photos: PyTorch top1 100; an engine top1 75>"
    assert "an engine 75.00 %" in shown(result).text


@pytest.mark.parametrize("kind", VIEWS)
def test_what_cannot_be_shown_is_left_to_the_text(kind: str) -> None:
    assert as_html(kind, object()) is None
