"""A worker process, seen from the server: started, fed over a socket, killed."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, final

from rectexport.runtime.errors import BadInput
from rectexport.runtime.runner import Array
from rectexport.runtime.serving import frames
from rectexport.runtime.serving.hosted import ModelSpec
from rectexport.runtime.serving.workers import Feeds, ModelFailed, Ran, WorkerDied


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
