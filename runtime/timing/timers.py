"""Two clocks: the host's around a call, and a GPU's own events on the stream that the work is queued on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, final


class Timer(Protocol):
    """Measures one call."""

    @property
    def description(self) -> str:
        """Which clock, for people."""

    def time(self, call: Callable[[], object]) -> float:
        """Seconds that the call's work took."""


@final
class HostTimer:
    """The host's monotonic clock around a call that returns when its results are there."""

    description = "host clock around each call"

    def time(self, call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


class Event(Protocol):
    """A mark in a GPU's stream of work, as torch.cuda.Event(enable_timing=True)."""

    def record(self, stream: Any = None) -> None:
        """Queue the mark behind the work queued so far."""

    def synchronize(self) -> None:
        """Wait until the mark has been passed."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this mark to `end`."""


@final
class EventTimer:
    """A pair of GPU events around what a call queues on one stream: the host's part before it is left out."""

    description = "CUDA events on the stream of the work"

    def __init__(self, make_event: Callable[[], Event], stream: Any = None) -> None:
        self._begin, self._end = make_event(), make_event()
        self._stream = stream

    def time(self, call: Callable[[], object]) -> float:
        self._begin.record(self._stream)
        call()
        self._end.record(self._stream)
        self._end.synchronize()
        return self._begin.elapsed_time(self._end) / 1e3
