"""Structured logs: one JSON object a line on stderr. They never hold the content of a client's request."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO, final


@final
class Log:
    """Writes events. requests=True logs every request, not only those that failed in the server."""

    def __init__(self, stream: TextIO | None = None, *, requests: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.requests = requests

    def event(self, name: str, **fields: object) -> None:
        """Write one line: the time in UTC, the event's name, its fields."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line = json.dumps({"time": f"{stamp}.{int(now * 1e3) % 1000:03d}Z", "event": name, **fields})
        self._stream.write(line + "\n")
        self._stream.flush()


@final
class LibraryLines(logging.Handler):
    """Forwards libraries' warnings to our log: the message template and an exception's class, never its message."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.event("library", source=record.name, level=record.levelname, text=str(record.msg)[:200], error=kind)
