"""The workers of one model; each that dies is replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, final

from rectexport.runtime.errors import RectexportError
from rectexport.runtime.serving.workers.protocol import Worker

#: Seconds to wait before each attempt to start a new worker; further attempts wait as long as the last.
PAUSES = (0.0, 0.2, 1.0, 5.0)


@final
class Pool:
    """Starts workers, lends idle ones, replaces dead ones."""

    def __init__(self, make: Callable[[], Worker], count: int) -> None:
        self._make, self._count = make, count
        self._idle: list[Worker] = []
        self._alive: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.restarts = 0
        self.trouble: str | None = None
        #: Attempts to start a worker that failed, one after the other.
        self.failed = 0
        #: on_idle is called when a worker becomes idle; on_trouble, with a text, when one died or could not start.
        self.on_idle: Callable[[], None] = lambda: None
        self.on_trouble: Callable[[str], None] = lambda line: None

    async def start(self) -> dict[str, Any]:
        """Start all workers; returns the first one's facts about the model. On BadInput none is left running."""
        workers = [self._make() for _ in range(self._count)]
        results = await asyncio.gather(*(worker.start() for worker in workers), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            for worker in workers:
                worker.kill()
            raise errors[0]
        for worker in workers:
            self._adopt(worker)
        facts = results[0]
        assert isinstance(facts, dict)
        return facts

    @property
    def workers(self) -> list[Worker]:
        """The workers that are alive, idle or running."""
        return list(self._alive)

    @property
    def has_idle(self) -> bool:
        """Whether acquire() may be called."""
        return bool(self._idle)

    def acquire(self) -> Worker:
        """The idle worker that ran last: its memory is most likely still cached."""
        return self._idle.pop()

    def release(self, worker: Worker) -> None:
        """Return a worker to the idle ones, unless it has died."""
        if worker in self._alive:
            self._idle.append(worker)
            self.on_idle()

    def close(self) -> None:
        """Kill all workers, and start no more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for worker in self.workers:
            worker.kill()

    def _adopt(self, worker: Worker) -> None:
        if self._closed:
            worker.kill()
            return
        self.trouble, self.failed = None, 0
        self._alive.add(worker)
        worker.lost = lambda: self._died(worker)
        self.release(worker)

    def _died(self, worker: Worker) -> None:
        if worker not in self._alive:
            return
        self._alive.remove(worker)
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        if not self._closed:
            self.restarts += 1
            self.on_trouble("a worker died and is replaced")
            task = asyncio.get_running_loop().create_task(self._replace())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replace(self) -> None:
        tries = 0
        while not self._closed:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            worker = self._make()
            try:
                await worker.start()
            except RectexportError as error:
                worker.kill()
                self.trouble = str(error)
                self.failed += 1
                self.on_trouble(f"a worker cannot be started: {error}")
                tries += 1
                continue
            except asyncio.CancelledError:
                worker.kill()
                raise
            self._adopt(worker)
            return
