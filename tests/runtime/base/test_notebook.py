"""Progress bars in a notebook, and none elsewhere."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rectexport.runtime.base import notebook


class Display:
    """IPython.display: notes what is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, html: str, display_id: bool) -> Any:
        assert display_id
        return SimpleNamespace(update=self.shown.append)


def test_a_bar_shows_steps_and_their_parts_escaped() -> None:
    display = Display()
    bar = notebook.Bar(display)
    bar.started("trace")
    bar.said("<script>")
    bar(3, 10, "a.png")
    bar.told("racing", 1, 2)
    bar.finished("trace", 1.25)
    bar.close()
    shown = display.shown
    assert "trace …" in shown[0] and "&lt;script&gt;" in shown[1]
    assert '<progress value="3" max="10">' in shown[2] and "3 of 10 a.png" in shown[2] and "1 of 2 racing" in shown[3]
    assert "trace, 1.2 s" in shown[4] and shown[5] == ""


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_outside_of_a_notebook_there_is_no_bar(monkeypatch: pytest.MonkeyPatch, shell: Any) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert notebook.bar() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.bar() is None


def test_in_a_notebook_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", Display())
    assert isinstance(notebook.bar(), notebook.Bar)


def test_without_jinja2_values_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert notebook.as_html("package", builtins.object()) is None
