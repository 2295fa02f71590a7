"""Formats strings and numbers for the page. Names come from models and are untrusted."""

from __future__ import annotations

import math
from collections.abc import Iterable

#: Names longer than this are shortened on the page; the documents hold them in full.
MAX_LENGTH = 160


def visible(text: str) -> str:
    """The text with unprintable characters and changes of writing direction as escapes; line breaks stay."""
    return "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def short(text: str, length: int = MAX_LENGTH) -> str:
    """The `visible` text; if it is longer than `length`, its middle is left out."""
    shown = visible(text).replace("\n", "\\n")
    if len(shown) <= length:
        return shown
    tail = (length - 1) // 2
    return f"{shown[: length - 1 - tail]}…{shown[len(shown) - tail :]}"


def number(value: float | None) -> str:
    """A distance as text, as in 1.5e-07."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞"
    return f"{value:.1e}" if value else "0"


def bound(value: float | None) -> str:
    """A tolerance as text, as in 1e-05."""
    return number(value).replace(".0e", "e")


def milliseconds(value: float | None) -> str:
    """Milliseconds as text with three significant digits, as in 12.3 ms."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = 2 if value <= 0 else max(0, min(6, 2 - math.floor(math.log10(value))))
    return f"{value:.{digits}f} ms"


def decibels(value: float | None) -> str:
    """A ratio of signal to noise as text, as in 40.1 dB."""
    if value is None or math.isnan(value):
        return "–"
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else f"{value:.1f} dB"


def compact(value: float) -> str:
    """A rounded count, as in 25.6 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (limit if limit != 1e4 else 1e3):.1f}{unit}"
    return f"{value:,.0f}"


def file_size(count: int) -> str:
    """A rounded number of bytes, as in 102.4 MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def sizes(shape: Iterable[int | str]) -> str:
    """A shape as text, as in 1×3×224×224; dynamic dimensions are shown by name."""
    return "×".join(short(str(size), 40) for size in shape) or "scalar"
