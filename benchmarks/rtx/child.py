"""A module of this package in a process of its own, which says its results as lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any


class Child:
    """`python -m MODULE ARGUMENTS`, for a module that calls end_with_parent."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", module, *arguments]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._late = False

    def _read_errors(self) -> None:
        for line in self._child.stderr or ():
            self._errors[:] = [*self._errors[-20:], line.strip()]

    def lines(self, limit: float | None = None) -> Iterator[dict[str, Any]]:
        """What it says. Raises TimeoutError, and ends it, if it says nothing for `limit` seconds."""
        while True:
            clock = threading.Timer(limit or threading.TIMEOUT_MAX, self._stop)
            clock.daemon = True
            clock.start()
            try:
                line = self._child.stdout.readline() if self._child.stdout else ""
            finally:
                clock.cancel()
            if self._late:
                raise TimeoutError
            if not line:
                return
            if line.startswith('{"'):  # whatever else libraries print
                yield json.loads(line)

    def _stop(self) -> None:
        self._late = True
        self._child.kill()

    def end(self) -> str:
        """End it if it still runs; returns the last line of its messages."""
        self._child.kill()
        code = self._child.wait()
        self._reader.join(timeout=5)
        said = [line for line in self._errors if line]
        return said[-1] if said else f"exit {code}"


def say(line: dict[str, Any]) -> None:
    """Tell the parent."""
    print(json.dumps(line), flush=True)


def end_with_parent() -> None:
    """End this process when the parent ends, however it ends: then its side of the standard input closes."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
