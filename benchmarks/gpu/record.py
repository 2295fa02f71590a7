"""What the steps find: a line of JSON for each finding, written at once, so that a kill loses nothing.

A finding is a row of a table, a note, a part that was skipped with its reason, or a failure.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import table

Line = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """The findings of one step; appends to `path`."""

    path: Path
    step: str

    def row(self, title: str, **columns: Any) -> None:
        """A row of the table of that title."""
        self._write(kind="row", table=title, columns=columns)

    def note(self, text: str) -> None:
        """Something to know, as text."""
        self._write(kind="note", text=text)

    def skip(self, what: str, reason: str) -> None:
        """A part that was not run, and why."""
        self._write(kind="skip", text=f"{what}: {reason}")

    def fail(self, text: str) -> None:
        """A wrong result or an error: the call as a whole has failed."""
        self._write(kind="fail", text=text)

    def end(self, outcome: str, seconds: float) -> None:
        """How the step ended: "done", "failed" or the reason that it was stopped."""
        self._write(kind="end", text=outcome, seconds=round(seconds, 1))

    def _write(self, **line: Any) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **line}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def read(path: Path) -> list[Line]:
    """The lines so far; one that a kill cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def markdown(title: str, titles: Mapping[str, str], lines: Iterable[Line]) -> str:
    """The record as a page: what each step said, then the tables. titles: name of a step -> what it is."""
    found = list(lines)
    parts = [f"# {title}", ""]
    for step, what in titles.items():
        own = [line for line in found if line["step"] == step]
        ended = next((line for line in own if line["kind"] == "end"), None)
        state = f"{ended['text']}, {ended['seconds']} s" if ended else "not run"
        parts.append(f"- **{what}**: {state}")
        words = {"note": "", "skip": "skipped: ", "fail": "FAILED: "}
        parts += [f"  - {words[line['kind']]}{_flat(line['text'])}" for line in own if line["kind"] in words]
    for name in dict.fromkeys(line["table"] for line in found if line["kind"] == "row"):
        rows = [line["columns"] for line in found if line["kind"] == "row" and line["table"] == name]
        headings = list(dict.fromkeys(heading for row in rows for heading in row))
        cells = [[_flat(str(row.get(heading, ""))) for heading in headings] for row in rows]
        parts += ["", f"## {name}", "", table(headings, cells)]
    return "\n".join([*parts, ""])


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
