"""Output that never fails on encoding: a sign that the terminal's encoding lacks is replaced."""

from __future__ import annotations

import codecs
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
