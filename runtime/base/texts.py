"""Texts that came from a file, fit to be shown: on one line, short, and without a hold on the terminal."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100


def printable(text: str) -> str:
    """The text with everything that does not print, or turns the direction of writing, spelled out: \\x1b, \\u202e."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def brief(value: object) -> str:
    """repr(value), cut short at every level: a file of a few bytes can hold a list whose full repr never ends."""
    return _REPR.repr(value)


def summary(error: BaseException) -> str:
    """The type of an error and the first line of its message: "ValueError: no such axis", at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
