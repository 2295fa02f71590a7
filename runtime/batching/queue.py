"""Which waiting calls share the next run: those of equal key, the oldest first, up to a number of rows.

An idle worker takes the waiting calls at once. Only while calls keep arriving does a batch wait for more: until it has
as many rows as the last batch and the calls queued behind it had together, and never longer than max_delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar, final


class Call(Protocol):
    """A call that waits. Calls are told apart by identity."""

    @property
    def key(self) -> Hashable:
        """Calls of equal keys may share a run."""

    @property
    def rows(self) -> int:
        """Rows of its inputs."""

    @property
    def arrived(self) -> float:
        """When it was made, by the clock that `delay` is asked with."""


T = TypeVar("T", bound=Call)


@final
class Queue(Generic[T]):
    """Waiting calls. It has no lock and no clock of its own.

    most_rows    rows that may share a run; 0: each call has a run of its own
    max_delay    seconds that a batch may wait for more calls
    """

    def __init__(self, most_rows: int, max_delay: float) -> None:
        self._most_rows, self._max_delay = most_rows, max_delay
        self._groups: dict[Hashable, deque[T]] = {}
        self._alone: deque[T] = deque()
        self._homes: dict[T, deque[T]] = {}
        self._rows, self._expected, self._last_end = 0, 1, float("-inf")

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, call: object) -> bool:
        return call in self._homes

    def add(self, call: T, alone: bool = False) -> None:
        """Let a call wait; `alone` lets it run next, without others."""
        home = self._alone if alone else self._groups.setdefault(call.key, deque())
        home.append(call)
        self._homes[call] = home
        self._rows += call.rows

    def remove(self, call: T) -> None:
        """Take out a call that waits: nobody wants its answer any more."""
        self._homes[call].remove(call)
        self._left(call)

    def delay(self, now: float) -> float:
        """Seconds for which the next batch should still wait for more calls; 0 where it should be taken."""
        if self._alone or not self._most_rows or self._max_delay <= 0:
            return 0.0
        if self._rows >= min(self._expected, self._most_rows):
            return 0.0
        return max(self._last_end + self._max_delay - now, 0.0)  # long past where idle, or where it has waited

    def stop_waiting(self) -> None:
        """Let the next batch be taken whatever its size."""
        self._last_end = float("-inf")

    def ended(self, rows: int, now: float) -> None:
        """A run of so many rows has ended."""
        self._expected, self._last_end = rows + len(self), now

    def take(self) -> list[T]:
        """The oldest call, and those of the same key behind it, up to the most rows. Raises IndexError if empty."""
        if self._alone or not self._groups:
            batch = [self._alone.popleft()]
            self._left(batch[0])
            return batch
        group = min(self._groups.values(), key=lambda group: group[0].arrived)
        batch = [group.popleft()]
        rows = batch[0].rows
        while group and rows + group[0].rows <= self._most_rows:
            batch.append(group.popleft())
            rows += batch[-1].rows
        for call in batch:
            self._left(call)
        return batch

    def _left(self, call: T) -> None:
        home = self._homes.pop(call)
        self._rows -= call.rows
        if not home and home is not self._alone:
            self._groups.pop(call.key, None)
