"""Output that never fails: signs that a terminal's encoding lacks are replaced, a closed pipe ends the command."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from typing import Any

#: What stands for a sign where the encoding lacks it.
ASCII = {
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "·": "|",
    "σ": "sigma",
    "é": "e",
    "°": "deg",
    "─": "-",
    "━": "=",
    "╌": ".",
    "│": "|",
    "┃": "|",
    "•": "*",
    "≤": "<=",
    "≥": ">=",
    "±": "+-",
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈╪", "+"),
}
HANDLER = "rectexport.ascii"


def _replace(error: UnicodeError) -> tuple[str, int]:
    """An error handler for codecs: ASCII that means the same, or a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ASCII.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace)


def make_safe(*streams: Any) -> None:
    """Let text streams replace what they cannot encode, where they can be told so."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=HANDLER)


def is_stdout_closed() -> bool:
    """Whether the reader of our standard output has gone, as `head` does."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    except (OSError, ValueError):
        return False
    return False


def end_of_closed_pipe() -> int:
    """Keep the interpreter's last flush from failing; returns the exit code of a program that SIGPIPE ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    return 128 + getattr(signal, "SIGPIPE", 13)
