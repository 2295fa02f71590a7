"""Record the steps and messages of an export, for the terminal, export.log and --json."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rectexport.runtime.base.logs import LOGGER
from rectexport.runtime.base.texts import printable


class Listener(Protocol):
    """Receives progress while an export runs."""

    def started(self, step: str) -> None:
        """A step has started."""

    def said(self, text: str) -> None:
        """A line about the current step."""

    def detailed(self, text: str) -> None:
        """A line about the current step for those who ask for details."""

    def advanced(self, done: int, total: int, text: str) -> None:
        """`done` of `total` parts of the current step are finished; `text` names the next one."""

    def finished(self, step: str, seconds: float) -> None:
        """A step has ended without an error."""


@dataclass
class Lines:
    """A listener that passes each step and each line about it on, as text."""

    tell: Callable[[str], None]

    def started(self, step: str) -> None:
        self.tell(step)

    def said(self, text: str) -> None:
        self.tell(f"  {text}")

    def detailed(self, text: str) -> None:
        """Nothing: details are for the log."""

    def advanced(self, done: int, total: int, text: str) -> None:
        self.tell(f"  {done} of {total}: {text}")

    def finished(self, step: str, seconds: float) -> None:
        """Nothing: the next step follows."""


@dataclass
class Log:
    """Collects steps with their duration in seconds, and lines of text; passes both on to a listener and the logger."""

    listener: Listener | None = None
    steps: list[tuple[str, float]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block as one step."""
        self.lines.append(name)
        LOGGER.info("%s", name)
        if self.listener:
            self.listener.started(name)
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        self.steps.append((name, seconds))
        if self.listener:
            self.listener.finished(name, seconds)

    def say(self, text: str) -> None:
        """Record one line; control characters are escaped, since names in it may come from an untrusted file."""
        text = self._record(text)
        LOGGER.info("%s", text)
        if self.listener:
            self.listener.said(text)

    def detail(self, text: str) -> None:
        """Record one line as `say` does; a listener shows it only where details were asked for."""
        text = self._record(text)
        LOGGER.debug("%s", text)
        if self.listener:
            self.listener.detailed(text)

    def _record(self, text: str) -> str:
        text = printable(text)
        self.lines.append(f"  {text}")
        return text

    def advance(self, done: int, total: int, text: str) -> None:
        """Report the progress of a long step to the listener; nothing is recorded."""
        if self.listener:
            self.listener.advanced(done, total, text)
