"""The house's docstrings as pages show them: the columns of names and texts become a list."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from typing import Any

_WIDE = re.compile(r"([\w*]+(?:, [\w*]+)*) {2,}(\S.*)")
_NARROW = re.compile(r"([\w*]+) (\S.*)")


def rewrite(_app: Any, _what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """Sphinx's event for each docstring: turn its columns into a list, in place."""
    lines[:] = as_list("\n".join(lines), parameters_of(obj)).splitlines()


def parameters_of(obj: Any) -> list[str]:
    """Names of the parameters of a function, or of a class's constructor; of anything else none."""
    try:
        return list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return []


def as_list(text: str, parameters: Collection[str] = ()) -> str:
    """The docstring with each paragraph of columns as a definition list.

    A paragraph is one of columns if a line of it has two spaces or more between a name and its text. In such a
    paragraph a line that begins with one of `parameters` begins an entry too, and an indented line continues one.
    """
    return "\n\n".join(_paragraph(part, parameters) for part in re.split(r"\n\s*\n", text.strip())) + "\n"


def entries(text: str, parameters: Collection[str] = ()) -> list[tuple[str, str]]:
    """The names and texts of all columns in a docstring."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"\n\s*\n", text):
        found += _entries(part, parameters)
    return found


def _paragraph(text: str, parameters: Collection[str]) -> str:
    listed = _entries(text, parameters)
    if not listed:
        return text
    return "\n".join(f"{', '.join(f'``{name}``' for name in names.split(', '))}\n    {said}" for names, said in listed)


def _entries(text: str, parameters: Collection[str]) -> list[tuple[str, str]]:
    lines = text.splitlines()
    if not any(_WIDE.fullmatch(line) for line in lines) or not _begins(lines[0], parameters):
        return []
    found: list[tuple[str, str]] = []
    for line in lines:
        begun = _begins(line, parameters)
        if begun:
            found.append(begun)
        else:
            names, said = found[-1]
            found[-1] = (names, f"{said} {line.strip()}")
    return found


def _begins(line: str, parameters: Collection[str]) -> tuple[str, str] | None:
    wide = _WIDE.fullmatch(line)
    if wide:
        return wide[1], wide[2]
    narrow = _NARROW.fullmatch(line)
    return (narrow[1], narrow[2]) if narrow and narrow[1] in parameters else None
