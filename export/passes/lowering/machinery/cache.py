"""The cache of tuning: figures measured before, in one JSON file of the user's cache folder.

A key holds everything that a figure depends on: operator, shape, dtype, target, the versions of this package and of
the engine, and the machine. A file that cannot be read counts as empty. Failing to write it is no error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.errors import BadInput

#: Cost and noise by form, as in rectexport.runtime.timing.stopwatch.Comparison.
Figures = dict[str, tuple[float, float]]


def default_path() -> Path:
    """$XDG_CACHE_HOME/rectexport/tuning.json, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rectexport" / "tuning.json"


@dataclass(frozen=True)
class Cache:
    """Figures by key, in a file."""

    path: Path = field(default_factory=default_path)

    def get(self, key: Mapping[str, Any]) -> Figures | None:
        """The figures stored under this key, or None."""
        found = self._read().get(_text(key))
        return None if found is None else {form: (float(cost), float(noise)) for form, (cost, noise) in found.items()}

    def put(self, key: Mapping[str, Any], figures: Figures) -> None:
        """Store figures. The file is replaced as a whole, so that readers never see a part of it."""
        entries = {**self._read(), _text(key): figures}
        with suppress(OSError, BadInput), replaced_file(self.path) as temporary:
            temporary.write_text(json.dumps(entries, indent=1, sort_keys=True), encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
