"""What an export says, step by step."""

from __future__ import annotations

import pytest

from rectexport.exporter.base.log import Log


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def started(self, step: str) -> None:
        self.heard.append(("started", step))

    def said(self, text: str) -> None:
        self.heard.append(("said", text))

    def detailed(self, text: str) -> None:
        self.heard.append(("detailed", text))

    def advanced(self, done: int, total: int, text: str) -> None:
        self.heard.append(("advanced", done, total, text))

    def finished(self, step: str, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(("finished", step))


def test_steps_and_lines() -> None:
    listener = Listener()
    log = Log(listener)
    with log.step("trace"):
        log.say("3 nodes")
        log.advance(1, 2, "the second")
    with log.step("passes"):
        log.detail("batch_norm: fired 1")
    assert log.lines == ["trace", "  3 nodes", "passes", "  batch_norm: fired 1"]
    assert [name for name, _ in log.steps] == ["trace", "passes"]
    assert listener.heard == [
        ("started", "trace"),
        ("said", "3 nodes"),
        ("advanced", 1, 2, "the second"),
        ("finished", "trace"),
        ("started", "passes"),
        ("detailed", "batch_norm: fired 1"),
        ("finished", "passes"),
    ]


def test_the_log_works_without_listeners() -> None:
    log = Log()
    with log.step("trace"):
        log.say("3 nodes")
        log.advance(1, 2, "the second")
    assert log.lines == ["trace", "  3 nodes"]


def test_a_step_that_fails_has_not_finished() -> None:
    listener = Listener()
    log = Log(listener)
    with pytest.raises(RuntimeError), log.step("trace"):
        raise RuntimeError
    assert log.steps == []
    assert listener.heard == [("started", "trace")]
