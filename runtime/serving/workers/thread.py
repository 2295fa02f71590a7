"""A worker that is a thread of the server process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, final

import numpy as np

from rectexport.runtime.errors import BadInput, from_plain
from rectexport.runtime.serving.workers.hosted import HostedModel, ModelSpec
from rectexport.runtime.serving.workers.protocol import Done, Feeds, ModelFailed, Ran, WorkerDied
from rectexport.runtime.serving.workers.worker import explain, facts, told


@final
class ThreadWorker:
    """A thread of this process: tensors are not copied, and a crash of the engine ends the server too.

    A thread cannot be killed: one that hangs is abandoned, and a new one takes its place.
    """

    def __init__(self, spec: ModelSpec, opened: Callable[[ModelSpec], HostedModel] = HostedModel) -> None:
        self._spec, self._opened = spec, opened
        self.lost: Callable[[], None] = lambda: None
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._model: HostedModel | None = None
        self._done: Callable[[Any], None] = _ignored
        self._dead = False

    async def start(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._serve, args=(loop,), daemon=True, name="rectexport-worker").start()
        opened: asyncio.Future[HostedModel | Exception] = loop.create_future()
        self._done = lambda found: None if opened.done() else opened.set_result(found)
        self._work.put(lambda: self._opened(self._spec))
        found = await opened
        if isinstance(found, Exception) and isinstance(found.__cause__, Exception):
            raise BadInput(*from_plain(told(found.__cause__)))
        if isinstance(found, Exception):
            raise BadInput(str(found) or f"{self._spec.path}: the worker was ended while it opened the model")
        self._model = found
        return facts(found)

    def run(self, feeds: Feeds, done: Done) -> None:
        if self._dead:
            asyncio.get_running_loop().call_soon(done, WorkerDied())
            return
        self._done = done
        self._work.put(lambda: self._infer(feeds))

    def kill(self) -> None:
        if self._dead:
            return
        self._dead = True
        self._work.put(None)
        self.lost()
        self._end(WorkerDied())

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (work := self._work.get()) is not None:
            found = _attempt(work)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._end, found)

    def _end(self, found: object) -> None:
        done, self._done = self._done, _ignored
        done(found)

    def _infer(self, feeds: Feeds) -> Ran:
        assert self._model is not None
        begin = time.perf_counter()
        joined = {name: np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for name, arrays in feeds.items()}
        outputs = self._model.run({name: np.require(array, requirements=("C", "A")) for name, array in joined.items()})
        return Ran(outputs, time.perf_counter() - begin)


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        failed = ModelFailed(explain(error))
        failed.__cause__ = error
        return failed


def _ignored(found: object) -> None:
    """Ignore a result: it comes from an abandoned thread."""
