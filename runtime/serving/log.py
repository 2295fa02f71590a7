"""Structured logs on stderr: JSON, one object a line; on a terminal, short lines for people.

They never hold the content of a client's request. A line that cannot be written is dropped and counted: a full disk, a
reader that has left or one that has stopped reading must not hold up or fail a request.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
from typing import TextIO, final

from rectexport.runtime.base.texts import printable

#: Bytes of a line: a pipe that polls as writable takes as many without blocking (POSIX's PIPE_BUF).
LINE_BYTES = 4096
#: Characters of a field: as many as fit.
MOST = (800, 80, 10)


@final
class Log:
    """Writes events. requests=True logs every request, not only those that failed in the server."""

    def __init__(self, stream: TextIO | None = None, *, requests: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._descriptor = _descriptor(self._stream)
        self.for_people = self._descriptor is not None and os.isatty(self._descriptor)
        self.requests = requests
        #: Lines that could not be written, in all.
        self.dropped = 0
        self._untold = 0
        self._cut = False

    def event(self, name: str, **fields: object) -> None:
        """Write one line: the time, the event's name, its fields. Never raises; a line that does not fit is dropped.

        The first line that is written after lost ones has their number in `dropped`.
        """
        if self._untold:
            fields["dropped"] = self._untold
        data = next((line for most in MOST if len(line := self._line(name, fields, most)) <= LINE_BYTES), b"")
        if self._try(data):
            self._untold = 0
        else:
            self.dropped += 1
            self._untold += 1

    def lines(self, *texts: str) -> None:
        """Write lines as they are; for a terminal."""
        for text in texts:
            self._try(printable(text).encode(errors="replace") + b"\n")

    def _line(self, name: str, fields: dict[str, object], most: int) -> bytes:
        fields = {key: value[:most] if isinstance(value, str) else value for key, value in fields.items()}
        line = _for_people(name, fields) if self.for_people else _as_json(name, fields)
        return line.encode(errors="replace") + b"\n"

    def _try(self, data: bytes) -> bool:
        try:
            return bool(data) and self._write(data)
        except (OSError, ValueError):  # ValueError: the stream is closed
            return False

    def _write(self, data: bytes) -> bool:
        if self._stream is None:  # Python was started with stderr closed
            return False
        if self._descriptor is None:
            self._stream.write(data.decode())
            self._stream.flush()
            return True
        if not _writable(self._descriptor):
            return False
        if self._cut:  # a part of a line was written before
            data = b"\n" + data
        count = os.write(self._descriptor, data)
        self._cut = count < len(data)
        return not self._cut


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _writable(descriptor: int) -> bool:
    """Whether a write of LINE_BYTES returns at once; files always do."""
    if not hasattr(select, "poll"):  # Windows
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    return bool(waiting.poll(0))


def _as_json(name: str, fields: dict[str, object]) -> str:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return json.dumps({"time": f"{stamp}.{int(now * 1e3) % 1000:03d}Z", "event": name, **fields})


def _for_people(name: str, fields: dict[str, object]) -> str:
    """Local time, event, and the fields that are not empty."""
    told = [f"{key} {_short(value)}" for key, value in fields.items() if value not in ("", None)]
    return printable(f"{time.strftime('%H:%M:%S')}  {name:<9} {', '.join(told)}".rstrip())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@final
class LibraryLines(logging.Handler):
    """Forwards libraries' warnings to our log: the message template and an exception's class, never its message."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.event("library", source=record.name, level=record.levelname, text=str(record.msg)[:200], error=kind)
