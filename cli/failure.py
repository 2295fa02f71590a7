"""What a user sees when a command fails: one line, and an exit code."""

from __future__ import annotations

import os

from rectexport.runtime.errors import RectexportError


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
