"""Where batches run: a process of its own for each worker, or a thread of this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, final

import numpy as np

from rectexport.runtime.errors import BadInput
from rectexport.runtime.runner import Array
from rectexport.runtime.serving import frames
from rectexport.runtime.serving.hosted import HostedModel, ModelSpec
from rectexport.runtime.serving.worker import explain, facts

#: Arrays of each request of a batch, by input.
Feeds = Mapping[str, Sequence[Array]]


class WorkerDied(Exception):
    """The worker went away while it held a batch."""


class ModelFailed(Exception):
    """The engine raised; the worker lives."""


@dataclass(frozen=True)
class Ran:
    """A batch's outputs, and the seconds that the engine took."""

    outputs: dict[str, Array]
    seconds: float


class Worker(Protocol):
    """Runs one batch at a time. `lost` is called once, when it dies or is killed."""

    lost: Callable[[], None]

    async def start(self) -> dict[str, Any]:
        """Open the model and run it; gives worker.facts. Raises BadInput."""

    def run(self, feeds: Feeds) -> asyncio.Future[Ran]:
        """Begin a batch; the future may hold WorkerDied or ModelFailed."""

    def kill(self) -> None:
        """End it now, whatever it is doing."""


@final
class ProcessWorker:
    """A process: it may crash, hang or be killed, and the server goes on."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self.lost: Callable[[], None] = lambda: None
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[frames.Header, dict[str, Array]]] | None = None

    @property
    def pid(self) -> int | None:
        """The process, once started."""
        return self._process.pid if self._process else None

    async def start(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-m", "rectexport.runtime.serving.worker", str(theirs.fileno())]
        # A session of its own: Ctrl-C in a terminal reaches the server alone, which lets the worker finish.
        self._process = subprocess.Popen(
            [*command, json.dumps(asdict(self._spec))], pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        self._answer = loop.create_future()
        self._transport, _ = await loop.create_connection(
            lambda: frames.FrameProtocol(self._got, self._gone), sock=ours
        )
        try:
            header, _ = await self._answer
        except WorkerDied:
            raise BadInput(f"{self._spec.path}: its worker ended while it opened the model") from None
        if "error" in header:
            raise BadInput(str(header["error"]))
        return dict(header["ready"])

    def run(self, feeds: Feeds) -> asyncio.Future[Ran]:
        loop = asyncio.get_running_loop()
        ran: asyncio.Future[Ran] = loop.create_future()
        if self._transport is None or self._transport.is_closing():
            ran.set_exception(WorkerDied())
            loop.call_soon(self.lost)  # it may have died before anyone listened
            return ran
        self._answer = loop.create_future()
        self._answer.add_done_callback(lambda answer: _deliver(answer, ran))
        tensors = [[name, arrays[0].dtype.str, _joined_shape(arrays)] for name, arrays in feeds.items()]
        parts: list[Any] = [frames.head({"tensors": tensors})]
        parts += [frames.flat(array) for arrays in feeds.values() for array in arrays]
        self._transport.writelines(frames.gathered(parts))
        return ran

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    def _got(self, header: frames.Header, arrays: dict[str, Array]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((header, arrays))

    def _gone(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WorkerDied())
        if self._process is not None:
            self._process.kill()
            threading.Thread(target=self._process.wait, daemon=True).start()  # no zombie is left
        self.lost()


def _joined_shape(arrays: Sequence[Array]) -> tuple[int, ...]:
    if len(arrays) == 1:
        return arrays[0].shape
    return (sum(len(array) for array in arrays), *arrays[0].shape[1:])


def _deliver(answer: asyncio.Future[Any], ran: asyncio.Future[Ran]) -> None:
    if ran.done():
        return
    if answer.cancelled() or answer.exception() is not None:
        ran.set_exception(WorkerDied())
        return
    header, arrays = answer.result()
    if "error" in header:
        ran.set_exception(ModelFailed(header["error"]))
    else:
        ran.set_result(Ran(arrays, header["seconds"]))


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
