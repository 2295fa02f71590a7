"""The state of a search in a file, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.tuning.candidate import Record
from rectexport.runtime.tuning.racing import Standing

MAX_BYTES = 256 << 20
VERSION = 1


@dataclass
class State:
    """task identifies what is searched: a state of another task is not continued.

    records  by candidate
    variants the packages that were made, and why others could not be: name -> {"package"} or {"reason"}
    spent    seconds of searching so far
    found    whether it was read from the file
    """

    path: Path
    task: str
    records: dict[str, Record] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    spent: float = 0.0
    found: bool = False

    def save(self) -> None:
        """Write the state; the file is replaced whole."""
        document = {
            "version": VERSION,
            "task": self.task,
            "spent": self.spent,
            "variants": self.variants,
            "records": {key: record.as_dict() for key, record in self.records.items()},
            "standing": vars(self.standing),
        }
        with replaced_file(self.path) as work:
            work.write_text(json.dumps(document) + "\n", encoding="utf-8")


def open_state(path: Path, task: str) -> State:
    """The state of this task in the file, or a new one where there is none, or one of another task."""
    try:
        document = json.loads(read_bounded(path, MAX_BYTES))
        if document["version"] == VERSION and document["task"] == task:
            return _read(path, document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of another version, or cut short
        return State(path, task)
    return State(path, task)


def _read(path: Path, document: Mapping[str, Any]) -> State:
    return State(
        path,
        str(document["task"]),
        {str(key): Record.from_dict(entry) for key, entry in document["records"].items()},
        Standing(**document["standing"]),
        {str(name): dict(entry) for name, entry in document["variants"].items()},
        float(document["spent"]),
        found=True,
    )
