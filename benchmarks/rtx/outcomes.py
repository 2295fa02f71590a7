"""What became of each case, and the file of the repository that keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import DOCS
from benchmarks.rtx.cases import cases

BEGUN = "begun"
#: From the best on. A case that is PARSED was not built yet, or not within the time that it was given (`late`).
PARSED, BUILT = "parsed", "built"
REFUSED, UNTRACED, FAILED, CRASHED, LATE = "refused", "not exported", "failed", "crashed", "took too long"

Result = dict[str, Any]


@dataclass
class Outcomes:
    """Network -> key of a case -> result, in a file that is rewritten after each case, one case a line."""

    path: Path = DOCS / "rtx.json"
    found: dict[str, dict[str, Result]] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def read(cls, path: Path = DOCS / "rtx.json") -> Outcomes:
        """What is known; nothing, where there is no file."""
        if not path.is_file():
            return cls(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, document["networks"], document["tensorrt_rtx"])

    def open(self, name: str, stage: str, retry: bool = False) -> list[str]:
        """Keys of the network's cases that the stage has yet to try; retry: also those that failed."""
        known = self.found.get(name, {})
        return [case.key for case in cases() if _is_open(known.get(case.key), stage, retry)]

    def put(self, name: str, key: str, result: Result) -> None:
        """Keep a result. One that was parsed stays so where the build crashes or takes too long."""
        network = self.found.setdefault(name, {})
        before = network.get(key, {})
        if before.get("outcome") == PARSED and result["outcome"] in (CRASHED, LATE):
            result = {**before, "build": result["outcome"], "message": result["message"]}
        network[key] = result
        self._write()

    def _write(self) -> None:
        order, networks = [case.key for case in cases()], []
        for name, results in sorted(self.found.items()):
            lines = [f"{json.dumps(key)}: {json.dumps(results[key])}" for key in order if key in results]
            networks.append(f"{json.dumps(name)}: " + _braces(lines, 3))
        parts = [f'"tensorrt_rtx": {json.dumps(self.version)}', '"networks": ' + _braces(networks, 2)]
        work = self.path.with_suffix(".partial")
        work.write_text(_braces(parts, 1) + "\n", encoding="utf-8")
        work.replace(self.path)


def _braces(parts: Sequence[str], depth: int) -> str:
    """A JSON object, one part a line."""
    indent = " " * depth
    return "{\n" + ",\n".join(indent + part for part in parts) + "\n" + " " * (depth - 1) + "}"


def _is_open(result: Result | None, stage: str, retry: bool) -> bool:
    if result is None:
        return True
    if result["outcome"] == BUILT:
        return False
    if result["outcome"] == PARSED:
        return stage == "build" and (retry or "build" not in result)
    return retry
