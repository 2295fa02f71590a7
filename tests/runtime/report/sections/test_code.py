"""The program on the page runs as it is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.report.sections.code import program

IMAGE = TensorEntry("x", "float32", ("batch", 3, 8, 8), ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)))
MASK = TensorEntry('it\'s a "mask"\n', "bool", ("n", 4))


class Session:
    """Notes what it was given."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, x: Any) -> str:
        self.given = {"x": x}
        return "answered"

    def run(self, feeds: dict[str, Any]) -> str:
        self.given = feeds
        return "answered"


@pytest.mark.parametrize("inputs", [(IMAGE,), (IMAGE, MASK)], ids=["one", "two"])
def test_it_runs_for_one_and_for_many_inputs(
    inputs: tuple[TensorEntry, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session, loaded = Session(), []
    module = SimpleNamespace(load=lambda name: loaded.append(name) or session)
    monkeypatch.setitem(__import__("sys").modules, "rectexport", module)
    exec(compile(program("my 'net'", inputs), "page", "exec"), {})
    assert loaded == ["my 'net'"] and capsys.readouterr().out == "answered\n"
    assert list(session.given) == [entry.name for entry in inputs]
    assert session.given["x"].shape == (2, 3, 8, 8) and session.given["x"].dtype == np.float32
    assert all(array.dtype == entry.dtype for array, entry in zip(session.given.values(), inputs, strict=True))
