"""What notebooks show: values as HTML made by the report's templates, and a progress bar below a running cell.

Nothing here is imported before a notebook asks for it, and without jinja2 a notebook shows the short text instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any


def as_html(kind: str, value: Any) -> str | None:
    """A value as HTML; None where jinja2 is missing, or what the value's files say cannot be shown.

    kind   a key of rectexport.runtime.report.notebook.VIEWS
    """
    try:
        import_module("jinja2")
    except ImportError:
        return None
    page: str | None = import_module("rectexport.runtime.report.notebook").as_html(kind, value)
    return page


def bar() -> Bar | None:
    """A progress bar below the running cell; None outside of a notebook."""
    if "IPython" not in sys.modules:
        return None
    ipython = import_module("IPython")
    shell = ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return Bar(import_module("IPython.display"))


class Bar:
    """One line that is updated: the running step, a bar and what it does. It is a listener of an export too."""

    def __init__(self, display: Any) -> None:
        """`display` is the module IPython.display."""
        self._html: Callable[[str], Any] = display.HTML
        self._handle = display.display(self._html(""), display_id=True)
        self._step, self._seconds = "", 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        """`done` of `total` parts are finished; `text` names the next one."""
        self.advanced(done, total, text)

    def told(self, text: str, done: int, total: int) -> None:
        """The same in the order of a search."""
        self.advanced(done, total, text)

    def started(self, step: str) -> None:
        """A step has started."""
        self._step = step
        self._show(f"{step} …")

    def said(self, text: str) -> None:
        """A line about the current step."""
        self._show(f"{self._step}: {text}")

    def detailed(self, text: str) -> None:
        """A line for those who ask for details, who find it in the log."""

    def advanced(self, done: int, total: int, text: str) -> None:
        """`done` of `total` parts of the current step are finished."""
        self._show(
            f"{self._step} {done} of {total} {text}".strip(), f'<progress value="{done}" max="{total}"></progress> '
        )

    def finished(self, step: str, seconds: float) -> None:
        """A step has ended without an error."""
        self._seconds += seconds
        self._show(f"{step}, {self._seconds:.1f} s")

    def close(self) -> None:
        """Remove the line."""
        self._handle.update(self._html(""))

    def _show(self, text: str, before: str = "") -> None:
        self._handle.update(self._html(f"{before}<code>{escape(text)}</code>"))
