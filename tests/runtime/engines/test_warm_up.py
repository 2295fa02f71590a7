"""The shapes that are run at load, and the progress that is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime import api
from rectexport.runtime.api import load
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines import warm_up
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.engines.warm_up import CHEAP_ELEMENTS, RUNS, warm_up_shapes
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import Manifest, TensorEntry
from tests.runtime.tiny import dynamic_package


def manifest(*inputs: TensorEntry) -> Manifest:
    return Manifest(inputs, (), {}, {}, {})


def entry(low: int, opt: int, high: int, name: str = "x") -> TensorEntry:
    return TensorEntry(name, "float32", ("n",), ShapeRange((low,), (opt,), (high,)))


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        ([entry(1, 2, 4)], [2, 1, 4]),
        ([entry(2, 2, 4)], [2, 4]),
        ([entry(2, 2, 2)], [2]),
        ([entry(1, 2, CHEAP_ELEMENTS)], [2, 1, CHEAP_ELEMENTS]),
        ([entry(1, 2, CHEAP_ELEMENTS + 1)], [2, 1]),
        ([TensorEntry("x", "float32", (3,))], [3]),
        ([TensorEntry("x", "float32", ("n",))], []),
        ([TensorEntry("y", "float32", ("n",)), entry(1, 2, 4)], []),
    ],
)
def test_usual_smallest_and_cheap_largest_shapes_are_run(inputs: list[TensorEntry], sizes: list[int]) -> None:
    assert [shapes["x"] for shapes in warm_up_shapes(manifest(*inputs))] == [(size,) for size in sizes]


class Recorder:
    description = "Recorder"
    inputs = outputs = ()

    def __init__(self, fails: bool = False) -> None:
        self.fed: list[dict[str, np.ndarray]] = []
        self.fails = fails
        self.closed = False

    def run(self, feeds: Any) -> dict[str, Any]:
        self.fed.append(feeds)
        if self.fails:
            raise BadInput("cannot")
        return {}

    def close(self) -> None:
        self.closed = True


def test_every_input_gets_zeros_of_its_dtype() -> None:
    recorder, said = Recorder(), []
    second = replace(entry(3, 5, 5, "y"), dtype="int64")
    warm_up.warm_up(recorder, manifest(entry(1, 2, 2), second), said.append)
    assert said == ["warming up at x 2, y 5 (1 of 2)", "warming up at x 1, y 3 (2 of 2)"]
    assert len(recorder.fed) == 2 * RUNS
    first = recorder.fed[0]
    assert (first["x"].shape, first["x"].dtype, first["y"].shape, first["y"].dtype) == ((2,), "float32", (5,), "int64")


def test_load_warms_up_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = dynamic_package(tmp_path / "tiny")
    recorder = Recorder()
    monkeypatch.setattr(api, "choose_backend", lambda *_: (recorder, Choice("r", "Recorder")))
    said: list[str] = []
    load(package.path, warm_up=False, progress=said.append)
    assert recorder.fed == [] and said == ["checking 4 files", "opened on Recorder"]
    load(package.path, progress=said.append)
    assert said[4:] == [
        "warming up at x 2x1x8x8 (1 of 3)",
        "warming up at x 1x1x8x8 (2 of 3)",
        "warming up at x 4x1x16x16 (3 of 3)",
    ]
    assert not recorder.closed


def test_an_engine_that_fails_in_the_warm_up_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = dynamic_package(tmp_path / "tiny")
    recorder = Recorder(fails=True)
    monkeypatch.setattr(api, "choose_backend", lambda *_: (recorder, Choice("r", "Recorder")))
    with pytest.raises(BadInput, match=r"^cannot$"):
        load(package.path)
    assert recorder.closed
