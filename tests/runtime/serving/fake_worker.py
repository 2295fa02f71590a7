"""A worker without an engine, for tests of the code that starts and calls workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.workers.protocol import Done, Feeds, Ran


class FakeWorker:
    """Answers every batch with its input x as output y; a `fault` makes start() raise it."""

    def __init__(self, fault: str | None = None) -> None:
        self.fault, self.killed = fault, False
        self.lost: Callable[[], None] = lambda: None

    async def start(self) -> dict[str, Any]:
        if self.fault is not None:
            raise BadInput(self.fault)
        return {"max_batch": 4, "seconds": 0.0, "remark": ""}

    def run(self, feeds: Feeds, done: Done) -> None:
        ran = Ran({"y": np.concatenate(feeds["x"])}, 0.001)
        asyncio.get_running_loop().call_soon(done, ran)

    def kill(self) -> None:
        self.killed = True
        self.lost()
