"""Frames carry arrays of every dtype and shape over both kinds of socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import numpy as np

from rectexport.runtime.serving.workers import frames
from tests.runtime.serving.conftest import run

ARRAYS = {
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
    "flags": np.array([True, False]),
    "strided": np.arange(12, dtype=np.float64).reshape(3, 4)[:, ::2],
}


def same(got: dict[str, Any], expected: dict[str, Any]) -> bool:
    return list(got) == list(expected) and all(
        got[name].dtype == array.dtype and got[name].shape == array.shape and np.array_equal(got[name], array)
        for name, array in expected.items()
    )


def test_frames_between_blocking_sockets() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        header = {"tensors": frames.described(ARRAYS), "more": [1]}
        threading.Thread(target=frames.send, args=(ours, header, ARRAYS.values())).start()
        frame = frames.receive(theirs)
        assert frame is not None
        assert frame[0]["more"] == [1] and same(frame[1], ARRAYS)
        ours.close()
        assert frames.receive(theirs) is None


def test_frames_into_the_event_loop() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        got: list[Any] = []
        lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        protocol = frames.FrameProtocol(lambda frame: got.append(frame[1]), lost.set)
        await loop.create_connection(lambda: protocol, sock=ours)
        large = {"large": np.arange(300_000, dtype=np.float32)}
        for arrays in (ARRAYS, large, {}):
            await loop.run_in_executor(
                None, frames.send, theirs, {"tensors": frames.described(arrays)}, list(arrays.values())
            )
        theirs.close()
        await lost.wait()
        assert len(got) == 3 and all(map(same, got, (ARRAYS, large, {})))

    run(test)
