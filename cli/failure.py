"""What a user sees when a command fails: one line, and an exit code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console

from rectexport.runtime.errors import RectexportError

_INTERRUPTED = threading.Event()


def debugging() -> bool:
    """Whether RECTEXPORT_DEBUG=1 asks for the traceback of an error that should not have happened."""
    return os.environ.get("RECTEXPORT_DEBUG") == "1"


def explain(error: BaseException) -> tuple[str, int]:
    """The line, and the exit code. What is neither our own error nor the machine's is a bug, and says so."""
    if isinstance(error, RectexportError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing was written", 130
    text = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
    if isinstance(error, OSError | MemoryError):
        return line, 1
    return f"internal error, please report it: {line} (RECTEXPORT_DEBUG=1 shows the traceback)", 1


@contextmanager
def reported(again: Sequence[str], as_json: bool) -> Iterator[None]:
    """Turn whatever the block raises into two lines on stderr, a document on stdout if asked, and an exit code."""
    begin = time.perf_counter()
    try:
        with _remembered_interrupts():
            yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit) or (debugging() and not isinstance(error, RectexportError)):
            raise
        text, code = explain(error)
        console = Console(stderr=True, highlight=False)
        console.print("error: ", style="bold red", end="")
        console.print(text, markup=False, soft_wrap=True)
        console.print("FAILED", style="bold red", end="")
        seconds = time.perf_counter() - begin
        console.print(f" after {seconds:.1f} s · again: {shlex.join(again)}", markup=False, soft_wrap=True)
        if as_json:
            print_failure(text, type(error).__name__, code)
        raise typer.Exit(code) from None


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed: libraries swallow one that meets their catch-all handlers."""
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


@contextmanager
def _remembered_interrupts() -> Iterator[None]:
    _INTERRUPTED.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(number: int, frame: object) -> None:
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def print_failure(text: str, kind: str, code: int) -> None:
    """The JSON document of a failed command."""
    typer.echo(json.dumps({"passed": False, "error": text, "kind": kind, "exit_code": code}, indent=2))
