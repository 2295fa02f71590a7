"""A failed command: one line, the verdict, and an exit code; signals that end a command."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console

from rectexport.cli.options import as_flag
from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import RectexportError

#: Signals after which a command still cleans up: Ctrl-C, a supervisor's, a closed terminal's.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_received: list[int] = []
LONGEST = 2000


def debugging() -> bool:
    """Whether RECTEXPORT_DEBUG=1 asks for the traceback of an internal error."""
    return os.environ.get("RECTEXPORT_DEBUG") == "1"


#: What an interrupted command leaves, if nothing else is said.
NOTHING = "nothing was written"


def explain(error: BaseException, left: str = NOTHING) -> tuple[str, int]:
    """The line, and the exit code. An error that is neither ours nor the machine's is reported as a bug.

    Parameters that our errors name are written as flags; left says what an interrupted command leaves.
    """
    if isinstance(error, RectexportError):
        return error.spelled(as_flag), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        number = error.args[0] if error.args else signal.SIGINT
        how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        return f"{how}; {left}", 128 + number
    text = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
    if isinstance(error, OSError | MemoryError):
        return line, 1
    return f"internal error, please report it: {line} (RECTEXPORT_DEBUG=1 shows the traceback)", 1


def shorten(text: str) -> str:
    """At most LONGEST characters: names in a file, or a pasted word, can make a message very long."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


@contextmanager
def reported(again: Sequence[str], as_json: bool, left: str = NOTHING) -> Iterator[None]:
    """Turn whatever the block raises into two lines on stderr, a document on stdout if asked, and an exit code.

    left says what the block leaves when it is interrupted.
    """
    begin = time.perf_counter()
    try:
        with _remembered_interrupts():
            yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit) or (debugging() and not isinstance(error, RectexportError)):
            raise
        if _received and not isinstance(error, KeyboardInterrupt):
            error = KeyboardInterrupt(_received[0])  # a library caught the interrupt, then failed
        if isinstance(error, KeyboardInterrupt):
            _end_by_code()
        text, code = explain(error, left)
        text = shorten(printable(text))
        console = Console(stderr=True, highlight=False)
        console.print("error: ", style="bold red", end="")
        console.print(text, markup=False, soft_wrap=True)
        show_verdict(console, False, time.perf_counter() - begin, again)
        if as_json:
            print_failure(text, type(error).__name__, code)
        raise typer.Exit(code) from None


def _end_by_code() -> None:
    """Let the process end with its exit code.

    When an interrupt has passed through `exec` or `eval` of a text, as torch has them, Python ends the process by
    SIGINT even though the interrupt was caught later; another `exec` clears that.
    """
    exec("")


def show_verdict(
    console: Console, passed: bool, seconds: float, again: Sequence[str], said: str = "", proven: str = ""
) -> None:
    """The last line of every command; `said` goes before the time, `proven` (the engines it holds for) after it."""
    verdict, style, after = ("PASSED", "bold green", "in") if passed else ("FAILED", "bold red", "after")
    console.print(verdict, style=style, end="")
    line = f" {said}{after} {seconds:.1f} s{printable(proven)} · again: {printable(shlex.join(again))}"
    console.print(line, markup=False, soft_wrap=True)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed: a library's catch-all handler may have swallowed it."""
    if _received:
        raise KeyboardInterrupt(_received[0])


@contextmanager
def _remembered_interrupts() -> Iterator[None]:
    _received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]  # as nohup has it
    for number in heeded:
        signal.signal(number, _interrupt)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if _is_interrupt(unraisable) else hook(unraisable)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number in heeded:
            signal.signal(number, previous[number])


def _is_interrupt(unraisable: sys.UnraisableHookArgs) -> bool:
    """Whether a signal arrived in code that cannot raise, such as a finalizer; it is remembered and reported later."""
    return bool(_received) and isinstance(unraisable.exc_value, KeyboardInterrupt)


def _interrupt(number: int, frame: object) -> None:
    """The first signal ends the block; the same signal again ends the process at once, even in a library's loop."""
    _received.append(number)
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt(number)


def print_failure(text: str, kind: str, code: int) -> None:
    """The JSON document of a failed command."""
    typer.echo(json.dumps({"passed": False, "error": text, "kind": kind, "exit_code": code}, indent=2))
