"""A pool starts workers, lends idle ones, and replaces those that die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.workers import pool as pool_module
from rectexport.runtime.serving.workers.pool import Pool
from tests.runtime.serving.conftest import run
from tests.runtime.serving.fake_worker import FakeWorker


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_the_worker_that_ran_last_is_lent_first() -> None:
    async def test() -> None:
        pool = Pool(FakeWorker, 2)
        assert (await pool.start())["max_batch"] == 4
        first, second = pool.acquire(), pool.acquire()
        assert first is not second and not pool.has_idle and len(pool.workers) == 2
        idle: list[str] = []
        pool.on_idle = lambda: idle.append("idle")
        pool.release(first)
        pool.release(second)
        assert pool.acquire() is second and idle == ["idle", "idle"]
        pool.close()
        assert pool.workers == []

    run(test)


def test_one_worker_that_does_not_start_ends_all() -> None:
    async def test() -> None:
        workers = [FakeWorker(), FakeWorker("no memory"), FakeWorker()]
        rest = iter(workers)
        with pytest.raises(BadInput, match="no memory"):
            await Pool(lambda: next(rest), 3).start()
        assert all(worker.killed for worker in workers)

    run(test)


def test_a_dead_worker_is_replaced_however_often_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PAUSES", (0.0, 0.001))

    async def test() -> None:
        faults: list[str | None] = [None, "busy", "busy", None]
        lines: list[str] = []
        pool = Pool(lambda: FakeWorker(faults.pop(0)), 1)
        pool.on_trouble = lines.append
        await pool.start()
        worker = pool.acquire()
        worker.kill()
        assert pool.workers == [] and pool.restarts == 1
        pool.release(worker)
        assert not pool.has_idle
        await until(lambda: pool.has_idle)
        assert lines == ["a worker died and is replaced", *["a worker cannot be started: busy"] * 2]
        assert pool.trouble is None and pool.workers != [worker]
        pool.close()
        assert pool.restarts == 1

    run(test)
