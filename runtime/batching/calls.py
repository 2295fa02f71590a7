"""Submitted calls: a few threads run them, and calls of equal shape share a run where rows are independent.

A joined run has the rows of its calls one after the other, and each call gets its own rows back. If a joined run fails,
each of its calls runs once more, alone, so that only the one that causes the failure fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Condition, Lock
from typing import Any, final

import numpy as np

from rectexport.runtime.batching.queue import Queue
from rectexport.runtime.batching.rows import batch_range, judge_package
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import INDEPENDENT

#: Most rows of a joined run, and the longest time in seconds that a call waits for others.
MAX_BATCH, MAX_DELAY = 16, 500e-6
#: Threads where every call has a run of its own. A few suffice: the engine has threads of its own for each inference.
WORKERS = 4

Feeds = Mapping[str, Any]


@dataclass(frozen=True)
class Joining:
    """How calls are joined.

    max_batch    most rows of a joined run
    max_delay    seconds that a call may wait for others, while calls keep arriving
    workers      joined runs at the same time
    """

    max_batch: int = MAX_BATCH
    max_delay: float = MAX_DELAY
    workers: int = 1


@dataclass(eq=False)
class _Call:
    feeds: Feeds
    finish: Callable[[dict[str, Any]], Any]
    key: Hashable
    rows: int
    arrived: float = field(default_factory=time.perf_counter)
    future: Future[Any] = field(default_factory=Future)


@final
class SubmittedCalls:
    """Runs calls of one package; `run` takes inputs by name and returns outputs by name, from any thread.

    Calls are joined if `joining` is given, and if the package says that rows are independent and takes several. The
    engine that runs is asked again, before its first joined run.
    """

    def __init__(self, run: Callable[[Feeds], dict[str, Any]], package: Package, joining: Joining | None) -> None:
        self._run, self._package = run, package
        manifest = package.manifest
        found = batch_range(manifest.inputs, manifest.outputs) if manifest.rows == INDEPENDENT else None
        self._names = [entry.name for entry in manifest.inputs]
        self._least, most = found or (0, 0)
        self._most = min(most, joining.max_batch) if joining else 0
        joined = joining is not None and self._most > self._least
        self._workers = joining.workers if joining is not None and joined else WORKERS
        self._queue: Queue[_Call] = Queue(self._most if joined else 0, joining.max_delay if joining else 0.0)
        self._joined = joined
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="rectexport")
        self._changed, self._active = Condition(), 0
        self._asking = Lock()

    def submit(self, feeds: Feeds, finish: Callable[[dict[str, Any]], Any]) -> Future[Any]:
        """A future of `finish` of the outputs. Raises RuntimeError after close()."""
        rows = self._rows(feeds) if self._joined else 0
        call = _Call(feeds, finish, self._key(feeds) if rows else object(), rows or 1)
        with self._changed:
            self._queue.add(call)
            if self._active < self._workers:
                self._active += 1
                self._pool.submit(self._serve)
            self._changed.notify()
        return call.future

    def close(self) -> None:
        """Wait for all calls."""
        self._pool.shutdown()

    def _rows(self, feeds: Feeds) -> int:
        """Rows of a call that may be joined, else 0: `run` says what is wrong with a call, so it is not said here."""
        if len(feeds) != len(self._names):
            return 0
        arrays = [feeds.get(name) for name in self._names]
        if not all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
            return 0
        sizes = {len(array) for array in arrays if array is not None}
        rows = sizes.pop()
        return rows if not sizes and self._least <= rows < self._most else 0

    def _key(self, feeds: Feeds) -> Hashable:
        return tuple((feeds[name].dtype, feeds[name].shape[1:]) for name in self._names)

    def _serve(self) -> None:
        """Run what waits, until nothing does."""
        while calls := self._next():
            wanted = [call for call in calls if call.future.set_running_or_notify_cancel()]
            if len(wanted) < 2 or not (self._engine_agrees and self._together(wanted)):
                for call in wanted:
                    self._alone(call)
            with self._changed:
                self._queue.ended(sum(call.rows for call in calls), time.perf_counter())

    def _next(self) -> list[_Call]:
        with self._changed:
            while len(self._queue) and (delay := self._queue.delay(time.perf_counter())) > 0:
                self._changed.wait(delay)
            if not len(self._queue):
                self._active -= 1
                return []
            return self._queue.take()

    @property
    def _engine_agrees(self) -> bool:
        with self._asking:  # the other threads wait: the question is asked once
            return self._rows_are_independent

    @cached_property
    def _rows_are_independent(self) -> bool:
        """Whether the engine, too, answers rows as it does without those beside them."""
        try:
            found = judge_package(self._run, self._package, self._least, self._most)
        except Exception:  # no goldens to ask with, an engine that fails
            return False
        return found.verdict == INDEPENDENT

    def _together(self, calls: Sequence[_Call]) -> bool:
        """Run calls as one; False where that fails."""
        try:
            joined = {name: np.concatenate([call.feeds[name] for call in calls]) for name in self._names}
            outputs = self._run(joined)
        except Exception:  # each call runs alone, and says what is wrong with it
            return False
        start = 0
        for call in calls:
            _settle(call, partial(_own_rows, outputs, start, start + call.rows))
            start += call.rows
        return True

    def _alone(self, call: _Call) -> None:
        _settle(call, lambda: self._run(call.feeds))


def _own_rows(outputs: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """Copies, so that one call's answer does not keep the others' in memory."""
    return {name: array[start:end].copy() for name, array in outputs.items()}


def _settle(call: _Call, outputs: Callable[[], dict[str, Any]]) -> None:
    """Give the call its result, or the error."""
    try:
        result = call.finish(outputs())
    except BaseException as error:
        call.future.set_exception(error)
    else:
        call.future.set_result(result)
