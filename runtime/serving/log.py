"""Structured logs: one JSON object a line on stderr. What a client sent as content is never in them."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO, final


@final
class Log:
    """Writes events; `requests` also says that each request is one, not only those that failed here."""

    def __init__(self, stream: TextIO | None = None, *, requests: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.requests = requests

    def event(self, name: str, **fields: object) -> None:
        """One line: time in UTC, the event, its fields."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line = json.dumps({"time": f"{stamp}.{int(now * 1e3) % 1000:03d}Z", "event": name, **fields})
        self._stream.write(line + "\n")
        self._stream.flush()


@final
class LibraryLines(logging.Handler):
    """Lets libraries log through ours: their fixed texts and the kind of an exception, without its message."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.event("library", source=record.name, level=record.levelname, text=str(record.msg)[:200], error=kind)
