"""Inner tensors on another engine: what is said about them, within which bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rectexport.exporter.checking import inner_tensors
from rectexport.exporter.checking.inner_tensors import compare_inner
from rectexport.runtime.base.runner import Runner
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from tests.export.helper import build, normal, tensors

BODY = "a = Relu(x)\n b = Neg(a)\n c = Sigmoid(b)\n d = Exp(c)\n y = Neg(d)"
MODEL = build("(float[1,2,5,5] x) => (float[1,2,5,5] y)", BODY)
FEEDS = {"x": normal(1, 2, 5, 5)}
EXPECTED = {name: value for name, value in tensors(MODEL, FEEDS).items() if name != "y"}


class Engine:
    """ONNX Runtime, with a fault in one corner of some tensors; remembers the outputs that it was opened with."""

    def __init__(self, *wrong: str) -> None:
        self.wrong, self.outputs, self.closed = wrong, list[str](), False

    def __call__(self, path: Path, outputs: Sequence[str]) -> Runner:
        assert [value.name for value in onnx.load(path).graph.output] == list(outputs)
        self.outputs, self._runner = list(outputs), OnnxRuntimeRunner(path)
        return self  # type: ignore[return-value]

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._runner.run(feeds)
        for name in self.wrong:
            found[name][..., 0, 0] += 1
        return found

    def close(self) -> None:
        self.closed = True


def said(engine: Any, expected: Mapping[str, Any] | None = None) -> str:
    return compare_inner(MODEL, engine, FEEDS, expected or EXPECTED, lambda name: f"layer.{name}", Tolerance(1e-5))


def test_tensors_that_agree_are_counted() -> None:
    engine = Engine()
    assert said(engine).startswith("4 inner tensors agree, farthest off ") and engine.closed
    assert engine.outputs == ["y", "a", "b", "c", "d"]


def test_the_first_that_differs_is_named_with_its_region() -> None:
    text = said(Engine("d", "b"))
    assert text.startswith("of 4 inner tensors the first that differs is b (layer.b): relative L2 ")
    assert text.endswith(" in region corner, allowed 1e-04")


def test_only_known_tensors_are_marked() -> None:
    engine = Engine()
    assert said(engine, {"c": EXPECTED["c"]}).startswith("1 inner tensors agree")
    assert engine.outputs == ["y", "c"]
    assert said(engine, {"elsewhere": EXPECTED["c"]}) == ""


@pytest.mark.parametrize(
    ("bound", "value", "marked"),
    [
        ("MOST_TENSORS", 2, ["a", "c"]),
        ("MOST_TENSORS", 3, ["a", "c"]),
        ("MOST_BYTES", 4 * 2 * 50, ["a", "c"]),
        ("MOST_BYTES", 4 * 50, ["a"]),
        ("MOST_BYTES", 4, []),
    ],
)
def test_bounds_thin_the_tensors_out(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int, marked: list[str]
) -> None:
    monkeypatch.setattr(inner_tensors, bound, value)
    engine = Engine()
    said(engine)
    assert engine.outputs[1:] == marked


def test_a_large_model_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_tensors, "MOST_MODEL_BYTES", -1)
    engine = Engine()
    assert said(engine).startswith("inner tensors were not compared: the model has ") and not engine.outputs


def test_an_engine_that_refuses_the_marked_model_is_told() -> None:
    def opened(path: Path, outputs: Sequence[str]) -> Runner:
        raise BadInput("no such outputs")

    assert said(opened) == "inner tensors were not compared: no such outputs"


def test_tensors_of_another_shape_or_type_are_left_out() -> None:
    other = {**EXPECTED, "a": np.zeros((3, 2), np.float32)}
    assert said(Engine(), other).startswith("3 inner tensors agree")
