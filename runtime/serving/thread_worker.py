"""A worker thread of the server itself."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, final

import numpy as np

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.hosted import HostedModel, ModelSpec
from rectexport.runtime.serving.worker import explain, facts
from rectexport.runtime.serving.workers import Feeds, ModelFailed, Ran, WorkerDied


@final
class ThreadWorker:
    """A thread of this process: nothing is copied, and nothing protects the server from the engine.

    A thread cannot be killed: one that hangs is left behind, and a new one takes its place.
    """

    def __init__(self, spec: ModelSpec, opened: Callable[[ModelSpec], HostedModel] = HostedModel) -> None:
        self._spec, self._opened = spec, opened
        self.lost: Callable[[], None] = lambda: None
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._model: HostedModel | None = None
        self._ran: asyncio.Future[Ran] | None = None
        self._dead = False

    async def start(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._serve, daemon=True, name="rectexport-worker").start()
        started: asyncio.Future[HostedModel] = loop.create_future()
        self._work.put(lambda: _call(loop, started, lambda: self._opened(self._spec)))
        try:
            self._model = await started
        except ModelFailed as error:
            raise BadInput(str(error)) from None
        return facts(self._model)

    def run(self, feeds: Feeds) -> asyncio.Future[Ran]:
        loop = asyncio.get_running_loop()
        self._ran = ran = loop.create_future()
        if self._dead:
            ran.set_exception(WorkerDied())
        else:
            self._work.put(lambda: _call(loop, ran, lambda: self._infer(feeds)))
        return ran

    def kill(self) -> None:
        if self._dead:
            return
        self._dead = True
        self._work.put(None)
        if self._ran is not None and not self._ran.done():
            self._ran.set_exception(WorkerDied())
        self.lost()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _infer(self, feeds: Feeds) -> Ran:
        assert self._model is not None
        begin = time.perf_counter()
        joined = {name: np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for name, arrays in feeds.items()}
        outputs = self._model.run({name: np.require(array, requirements=("C", "A")) for name, array in joined.items()})
        return Ran(outputs, time.perf_counter() - begin)


def _call(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
    try:
        value, error = function(), None
    except Exception as raised:
        value, error = None, ModelFailed(explain(raised))
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
