"""Dynamic batching for one model: requests of equal shape share a run, and each gets its own rows back.

Which requests share a run, and how long one waits for others, is the rule of rectexport.runtime.batching.queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from rectexport.runtime.base.runner import Array
from rectexport.runtime.batching.queue import Queue
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.request import InferRequest
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.statistics import Statistics
from rectexport.runtime.serving.workers.pool import Pool
from rectexport.runtime.serving.workers.protocol import BatchResult, ModelFailed, Ran, Worker, WorkerDied

#: Seconds. Event loops round timers to milliseconds; a shorter timer would fire at once.
TICK = 1e-3
Outputs = dict[str, Array]
Key = tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Pending:
    """A request between its arrival and its answer; `alone` is set after a run that it was part of failed.

    span is the request's where it is traced.
    """

    request: InferRequest
    answer: asyncio.Future[Outputs]
    arrived: float
    expiry: asyncio.TimerHandle
    span: Any = None
    alone: bool = False

    @property
    def key(self) -> Key:
        return self.request.key

    @property
    def rows(self) -> int:
        return self.request.rows


@final
class Batcher:
    """One for each model version. submit() returns a future; cancelling it removes the request from the queue."""

    def __init__(self, signature: Signature, pool: Pool, limits: Limits, statistics: Statistics) -> None:
        self._signature, self._pool, self._limits, self._statistics = signature, pool, limits, statistics
        self._queue: Queue[Pending] = Queue(signature.max_batch, limits.max_delay)
        self._running = 0
        self._open: set[Pending] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        #: Called at the end of each batch with the spans of its requests, its rows, when it began, and its result.
        self.on_ran: Callable[[Sequence[Any], int, float, BatchResult], None] | None = None
        pool.on_idle = self._pump

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def submit(self, request: InferRequest, span: Any = None) -> asyncio.Future[Outputs]:
        """Queue a request. The future holds outputs by name, or a RequestError.

        Raises RequestError 429 when the queue is full.
        """
        if self.waiting >= self._limits.queue:
            raise RequestError(429, f"{self.waiting} requests wait for this model; try again later")
        answer: asyncio.Future[Outputs] = self._loop.create_future()
        seconds = min(request.timeout or self._limits.deadline, self._limits.deadline)
        expiry = self._loop.call_later(max(seconds, TICK), _expire, answer, seconds)
        pending = Pending(request, answer, time.perf_counter(), expiry, span)
        self._queue.add(pending)
        self._open.add(pending)
        answer.add_done_callback(lambda answer: self._answered(pending))
        self._pump()
        return answer

    def refuse(self, reason: str, *, running: bool = False) -> None:
        """Answer the requests that wait with 503, because no worker will take them; with running, all."""
        for pending in list(self._open):
            if (running or pending in self._queue) and not pending.answer.done():
                pending.answer.set_exception(RequestError(503, reason))

    async def idle(self) -> None:
        """Wait until no request is queued or running."""
        while self.waiting or self._running:
            await asyncio.sleep(0.01)

    def _answered(self, pending: Pending) -> None:
        """Cancel the deadline's timer, and remove a request that is still queued: nobody waits for it any more."""
        pending.expiry.cancel()
        self._open.discard(pending)
        if pending in self._queue:
            self._queue.remove(pending)

    def _pump(self) -> None:
        """Give batches to idle workers."""
        while self.waiting and self._pool.has_idle and not self._holds_back():
            worker = self._pool.acquire()
            self._start(worker, self._queue.take())

    def _holds_back(self) -> bool:
        """Whether to wait for more requests; sets a timer for when the wait must end."""
        if not self._queue.delay(time.perf_counter()):
            return False
        if self._timer is None:
            self._timer = self._loop.call_later(max(self._limits.max_delay, TICK), self._stop_waiting)
        return True

    def _stop_waiting(self) -> None:
        self._timer = None
        self._queue.stop_waiting()
        self._pump()

    def _start(self, worker: Worker, batch: list[Pending]) -> None:
        self._running += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        begin = time.perf_counter()
        feeds = {name: [pending.request.feeds[name] for pending in batch] for name in self._signature.inputs}
        watch = self._loop.call_later(self._limits.run, worker.kill)
        worker.run(feeds, lambda outcome: self._ended(outcome, worker, batch, begin, watch))

    def _ended(
        self, outcome: BatchResult, worker: Worker, batch: list[Pending], begin: float, watch: asyncio.TimerHandle
    ) -> None:
        watch.cancel()
        self._running -= 1
        rows = sum(pending.rows for pending in batch)
        self._queue.ended(rows, time.perf_counter())
        if self.on_ran is not None:
            self.on_ran([pending.span for pending in batch], rows, begin, outcome)
        if isinstance(outcome, Ran):
            self._statistics.ran(rows, outcome.seconds, len(batch), sum(begin - pending.arrived for pending in batch))
            _share_out(outcome.outputs, batch)
        else:
            self._failed(outcome, batch)
        if not isinstance(outcome, WorkerDied):
            self._pool.release(worker)
        self._pump()

    def _failed(self, error: WorkerDied | ModelFailed, batch: Sequence[Pending]) -> None:
        """Run each request once more, alone, so that only the one that causes the failure fails again."""
        for pending in batch:
            if pending.answer.done():
                continue
            if not pending.alone and (len(batch) > 1 or isinstance(error, WorkerDied)):
                pending.alone = True
                self._queue.add(pending, alone=True)
            elif isinstance(error, ModelFailed):
                pending.answer.set_exception(RequestError(500, f"the model failed: {error}"))
            else:
                pending.answer.set_exception(RequestError(503, "a worker died twice on this request"))


def _expire(answer: asyncio.Future[Outputs], seconds: float) -> None:
    if not answer.done():
        answer.set_exception(RequestError(504, f"no answer within the deadline of {seconds:g} s"))


def _share_out(outputs: Outputs, batch: Sequence[Pending]) -> None:
    """Give each request its own rows of the outputs."""
    if len(batch) == 1:
        if not batch[0].answer.done():
            batch[0].answer.set_result(outputs)
        return
    start = 0
    for pending in batch:
        end = start + pending.rows
        if not pending.answer.done():
            pending.answer.set_result({name: array[start:end] for name, array in outputs.items()})
        start = end
