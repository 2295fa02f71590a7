"""Every error becomes one line and an exit code; signals end a command in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import typer

from rectexport.cli.failure import check_interrupted, debugging, explain, reported
from rectexport.runtime import errors

BUG = "internal error, please report it: {} (RECTEXPORT_DEBUG=1 shows the traceback)"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (errors.BadInput("a.pt: no such file"), "a.pt: no such file", 1),
        (errors.UsageError("--opset 99"), "--opset 99", 2),
        (errors.ParityError("disagrees"), "disagrees", 3),
        (errors.MissingDependency("torch"), "torch", 5),
        (KeyboardInterrupt(), "interrupted; nothing was written", 130),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device", 1),
        (PermissionError(13, "Permission denied", "a"), "PermissionError: [Errno 13] Permission denied: 'a'", 1),
        (MemoryError("Unable to allocate 5 GiB"), "MemoryError: Unable to allocate 5 GiB", 1),
        (MemoryError(), "MemoryError", 1),
        (ValueError("first\nsecond"), BUG.format("ValueError: first"), 1),
        (KeyError(), BUG.format("KeyError"), 1),
        (ImportError("x"), BUG.format("ImportError: x"), 1),
        (RuntimeError("x" * 1000), BUG.format("RuntimeError: " + "x" * 300), 1),
    ],
)
def test_an_error_becomes_a_line_and_an_exit_code(error: BaseException, line: str, code: int) -> None:
    assert explain(error) == (line, code)


def test_an_interrupted_command_says_what_it_leaves() -> None:
    assert explain(KeyboardInterrupt(signal.SIGTERM), "a part is kept") == ("ended by SIGTERM; a part is kept", 143)


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False), (None, False)])
def test_debugging_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool) -> None:
    monkeypatch.delenv("RECTEXPORT_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("RECTEXPORT_DEBUG", value)
    assert debugging() is wanted


def code_of(action: Callable[[], None]) -> int:
    """The exit code of a command that does this."""
    with pytest.raises(typer.Exit) as ended, reported(["rectexport"], as_json=False):
        action()
    return ended.value.exit_code


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [
        (signal.SIGINT, "interrupted; nothing was written", 130),
        (signal.SIGTERM, "ended by SIGTERM; nothing was written", 143),
        (signal.SIGHUP, "ended by SIGHUP; nothing was written", 129),
    ],
)
def test_signals_end_a_command_in_order(
    number: signal.Signals, said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)

    def receive() -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    assert code_of(receive) == code
    assert said in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_a_swallowed_signal_is_remembered() -> None:
    def swallow() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "the second ends the process at once"
        check_interrupted()

    assert code_of(swallow) == 143


def test_a_library_error_after_a_swallowed_signal_is_reported_as_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    def swallow() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        raise errors.DeviceError("the stream is gone")

    assert code_of(swallow) == 143
    assert "error: ended by SIGTERM; nothing was written" in capsys.readouterr().err


def test_a_signal_in_a_finalizer_is_remembered_and_not_printed() -> None:
    class Closing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("said as ever")

    def drop() -> None:
        Closing()
        Broken()
        check_interrupted()

    said: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, said.append
    try:
        assert code_of(drop) == 143
        assert sys.unraisablehook == said.append, "as it was"
    finally:
        sys.unraisablehook = before
    assert [type(entry.exc_value) for entry in said] == [ValueError]


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with reported(["rectexport"], as_json=False):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_control_characters_in_a_message_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported(["rectexport", "\x1b[2J"], as_json=False):
        raise errors.BadInput("\x1b]0;owned\x07 a\nPASSED")
    said = capsys.readouterr().err
    assert r"\x1b]0;owned\x07 a\nPASSED" in said and "\x1b" not in said


def test_an_interrupt_within_exec_ends_with_its_code() -> None:
    """Python would end by the signal instead."""
    script = """
import typer
from rectexport.cli.failure import reported
try:
    with reported(["rectexport"], False):
        exec("raise KeyboardInterrupt(2)")
except typer.Exit as ended:
    raise SystemExit(ended.exit_code)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "interrupted; nothing was written" in ended.stderr
    assert ended.returncode == 130
