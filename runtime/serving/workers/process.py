"""The server's end of a worker process: starts it, sends batches over a socket, kills it."""

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

from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput, from_plain
from rectexport.runtime.serving.workers import frames
from rectexport.runtime.serving.workers.hosted import ModelSpec
from rectexport.runtime.serving.workers.protocol import BatchResult, Done, Feeds, ModelFailed, Ran, WorkerDied

PROGRAM = "rectexport.runtime.serving.workers.worker"
#: Seconds that a worker may take to open its model and run the goldens.
START = 600.0


@final
class ProcessWorker:
    """A worker in a process of its own: when it crashes, hangs or is killed, the server goes on.

    program is the module that the process runs.
    """

    def __init__(self, spec: ModelSpec, program: str = PROGRAM) -> None:
        self._spec, self._program = spec, program
        self.lost: Callable[[], None] = lambda: None
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._done: Callable[[frames.Frame | None], None] = _ignored

    @property
    def pid(self) -> int | None:
        """The process's id, None before it is started."""
        return self._process.pid if self._process else None

    async def start(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-m", self._program, str(theirs.fileno())]
        # A session of its own: Ctrl-C in a terminal reaches only the server, which lets the worker finish.
        self._process = subprocess.Popen(
            [*command, json.dumps(asdict(self._spec))], pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        opened: asyncio.Future[frames.Frame | None] = loop.create_future()
        self._done = lambda frame: None if opened.done() else opened.set_result(frame)
        self._transport, _ = await loop.create_connection(
            lambda: frames.FrameProtocol(self._end, self._gone), sock=ours
        )
        try:
            frame = await asyncio.wait_for(opened, START)
        except asyncio.TimeoutError:
            self.kill()
            raise BadInput(f"{self._spec.path}: the worker did not open the model within {START:g} s") from None
        if frame is None:
            raise BadInput(f"{self._spec.path}: the worker process ended while it opened the model")
        header, _ = frame
        if "error" in header:
            raise BadInput(*from_plain(header["parts"]))
        return dict(header["ready"])

    def run(self, feeds: Feeds, done: Done) -> None:
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            loop.call_soon(self.lost)  # it may have died before `lost` was set
            loop.call_soon(done, WorkerDied())
            return
        self._done = lambda frame: done(_outcome(frame))
        tensors = [[name, arrays[0].dtype.str, _joined_shape(arrays)] for name, arrays in feeds.items()]
        parts: list[Any] = [frames.head({"tensors": tensors})]
        parts += [frames.flat(array) for arrays in feeds.values() for array in arrays]
        self._transport.writelines(frames.gathered(parts))

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    def _gone(self) -> None:
        if self._process is not None:
            self._process.kill()
            threading.Thread(target=self._process.wait, daemon=True).start()  # no zombie is left
        self.lost()
        self._end(None)

    def _end(self, frame: frames.Frame | None) -> None:
        done, self._done = self._done, _ignored
        done(frame)


def _joined_shape(arrays: Sequence[Array]) -> tuple[int, ...]:
    if len(arrays) == 1:
        return arrays[0].shape
    return (sum(len(array) for array in arrays), *arrays[0].shape[1:])


def _outcome(frame: frames.Frame | None) -> BatchResult:
    if frame is None:
        return WorkerDied()
    header, arrays = frame
    return ModelFailed(header["error"]) if "error" in header else Ran(arrays, header["seconds"])


def _ignored(frame: frames.Frame | None) -> None:
    """Ignore a frame: no batch is running."""
