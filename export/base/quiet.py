"""Keep what torch's exporters write off the terminal: their own internals, and libraries that no model here needs."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.errors import RectexportError

#: Loggers of torch's exporters; each has handlers of its own that write to the terminal.
_LOGGERS = ("torch", "onnxscript")
#: Most characters of a log that is kept.
MOST = 1 << 20


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Within the block, collect warnings, log messages and printed text of this thread instead of showing them."""
    kept: list[str] = []
    with _without_warnings(kept), _without_logging(kept), _without_printing(kept):
        yield kept


@contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Write what torch said about an error of ours to a file, which the error's text then names.

    Only for an error that was raised from one of torch's. Within the block, use `quiet`.
    """
    begin = len(_said())
    try:
        yield
    except RectexportError as error:
        if error.__cause__ is None:
            raise
        lines = _said()[begin:]
        text = "".join(lines)[-MOST:] + "".join(traceback.format_exception(error.__cause__))[-MOST:]
        with replaced_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        raise type(error)(*error.args, f". What torch said is in {path}") from error.__cause__
    finally:
        del _said()[begin:]


_local = threading.local()


def _said() -> list[str]:
    """All that the blocks of `quiet` in this thread have collected, oldest first."""
    if not hasattr(_local, "said"):
        _local.said = []
    said: list[str] = _local.said
    return said


@contextmanager
def _without_warnings(kept: list[str]) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            texts = dict.fromkeys(f"{entry.category.__name__}: {entry.message}\n" for entry in caught)
            kept.extend(texts)
            _said().extend(texts)


class _Collector(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname} {record.name}: {record.getMessage()}\n"
            self._kept.append(text)
            _said().append(text)


@contextmanager
def _without_logging(kept: list[str]) -> Iterator[None]:
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in dict.fromkeys([*_LOGGERS, *names])]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [_Collector(kept)] if logger.name in _LOGGERS else []
        logger.propagate = logger.name not in _LOGGERS
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate


class _Divided:
    """A stream that keeps what one thread writes, and passes on what the others do, such as a spinner."""

    def __init__(self, stream: TextIO, kept: list[str]) -> None:
        self._stream, self._kept, self._thread = stream, kept, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._thread:
            return self._stream.write(text)
        self._kept.append(text)
        _said().append(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _without_printing(kept: list[str]) -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Divided(stream, kept) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
