"""Make untrusted texts safe to show: on one line, short, without terminal control characters."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100


def printable(text: str) -> str:
    """The text with unprintable characters and changes of writing direction as escapes: \\x1b, \\u202e."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def brief(value: object) -> str:
    """repr(value), shortened at every level of nesting: a small file can hold a value whose full repr is huge."""
    return _REPR.repr(value)


def summary(error: BaseException) -> str:
    """The type of an error and the first line of its message: "ValueError: no such axis", at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
