"""Two clocks: the host's around a call, and GPU events on the stream that the call uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, final


class Timer(Protocol):
    """Measures one call."""

    @property
    def description(self) -> str:
        """The clock, for people."""

    def time(self, call: Callable[[], object]) -> float:
        """Seconds that the call took."""


@final
class HostTimer:
    """The host's monotonic clock around a call that returns when its results are complete."""

    description = "host clock around each call"

    def time(self, call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


class Event(Protocol):
    """An event on a GPU stream, such as torch.cuda.Event(enable_timing=True)."""

    def record(self, stream: Any = None) -> None:
        """Record the event after the work queued so far."""

    def synchronize(self) -> None:
        """Wait until the GPU has reached the event."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to `end`."""


@final
class EventTimer:
    """A pair of GPU events around the work that a call queues on one stream; the host's time is not included."""

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
