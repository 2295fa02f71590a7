"""End a trace that takes too long, and say meanwhile what it is doing.

torch.export runs in Python, and so do its symbolic computations, which can take hours. A second thread raises an
exception in the one that traces (PyThreadState_SetAsyncExc): signals would only work in the main thread.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: How often to say what the block is doing, in seconds.
INTERVAL = 10.0


class TooLong(BaseException):
    """Raised in the thread that traces; no Exception, so that torch's own handlers do not catch it."""


@contextmanager
def limited(
    seconds: float | None, say: Callable[[float], None] | None = None, interval: float = INTERVAL
) -> Iterator[None]:
    """Raise TooLong within the block after `seconds`; None sets no limit.

    `say` is called every `interval` seconds with the seconds so far, and once more before the end.
    """
    thread, done = threading.get_ident(), threading.Event()
    watch = threading.Thread(target=_watch, args=(thread, done, seconds, say, interval), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()
        _raise_in(thread, None)  # one that was sent and has not arrived


def _watch(
    thread: int, done: threading.Event, seconds: float | None, say: Callable[[float], None] | None, interval: float
) -> None:
    begin = time.monotonic()
    end = None if seconds is None else begin + seconds
    told = False
    while not done.wait(interval if end is None else max(min(interval, end - time.monotonic()), 0.05)):
        now = time.monotonic()
        if end is not None and now >= end:
            if say is not None and not told:
                say(now - begin)
            told = True
            _raise_in(thread, TooLong)  # again, where something caught the one before
            done.wait(1)
        elif say is not None:
            say(now - begin)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None)


def frame_of(thread: int) -> FrameType | None:
    """The innermost frame that a thread runs."""
    return sys._current_frames().get(thread)
