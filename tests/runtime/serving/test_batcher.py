"""Batches: which requests share a run, which are never computed, and what happens when a run fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.serving.batcher import Batcher
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.request import InferRequest, assemble
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.statistics import Statistics
from rectexport.runtime.serving.workers.pool import Pool
from rectexport.runtime.serving.workers.protocol import Done, ModelFailed, Ran, WorkerDied
from tests.runtime.serving.conftest import run


class Fake:
    """A worker that returns the sum of each row of x when the test calls finish()."""

    def __init__(self) -> None:
        self.lost: Callable[[], None] = lambda: None
        self.batches: list[Mapping[str, Sequence[Any]]] = []
        self.ends: list[Done] = []
        self.killed = False

    async def start(self) -> dict[str, Any]:
        return {"max_batch": 8}

    def run(self, feeds: Mapping[str, Sequence[Any]], done: Done) -> None:
        self.batches.append(feeds)
        self.ends.append(done)

    def kill(self) -> None:
        self.killed = True
        self.lost()

    def finish(self) -> None:
        """Answer the last batch."""
        x = np.concatenate(self.batches[-1]["x"])
        self.ends[-1](Ran({"y": x.sum((1, 2))[:, None]}, 0.001))

    @property
    def rows(self) -> list[int]:
        """Rows of each batch so far."""
        return [sum(len(array) for array in batch["x"]) for batch in self.batches]


def request(signature: Signature, value: float, rows: int = 1, width: int = 4, timeout: float = 10.0) -> InferRequest:
    x = np.full((rows, 3, width), value, np.float32)
    return assemble(signature, {"x": x, "m": np.zeros(rows, np.int32)}, timeout=timeout)


async def started(
    signature: Signature, workers: int = 1, **limits: Any
) -> tuple[Batcher, list[Fake], Statistics, Pool]:
    fakes: list[Fake] = []

    def make() -> Fake:
        fakes.append(Fake())
        return fakes[-1]

    pool, statistics = Pool(make, workers), Statistics()
    await pool.start()
    return Batcher(signature, pool, Limits(**{"max_delay": 0.0, **limits}), statistics), fakes, statistics, pool


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_idle_workers_start_at_once_and_busy_ones_get_batches(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), statistics, _ = await started(signature)
        answers = [batcher.submit(request(signature, value)) for value in range(6)]
        assert worker.rows == [1]
        worker.finish()
        await settle()
        assert worker.rows == [1, 5]
        worker.finish()
        for value, answer in enumerate(answers):
            assert (await answer)["y"].tolist() == [[12.0 * value]]
        assert (statistics.rows, statistics.runs) == (6, 2)
        assert batcher.waiting == 0

    run(test)


def test_a_batch_has_no_more_rows_than_the_model_takes(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature)
        answers = [batcher.submit(request(signature, rows, rows)) for rows in (1, 3, 4, 2, 8)]
        for expected in ([1], [1, 7], [1, 7, 2], [1, 7, 2, 8]):
            await settle()
            assert worker.rows == expected
            worker.finish()
        for rows, answer in zip((1, 3, 4, 2, 8), answers, strict=True):
            assert (await answer)["y"].tolist() == [[12.0 * rows]] * rows

    run(test)


def test_only_equal_shapes_share_a_run_and_the_oldest_goes_first(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature)
        answers = [batcher.submit(request(signature, 1, width=width)) for width in (4, 5, 4, 5, 6)]
        for expected in ([1], [1, 2], [1, 2, 1], [1, 2, 1, 1]):
            await settle()
            assert worker.rows == expected
            worker.finish()
        assert [batch["x"][0].shape[2] for batch in worker.batches] == [4, 5, 4, 6]
        for width, answer in zip((4, 5, 4, 5, 6), answers, strict=True):
            assert (await answer)["y"].tolist() == [[3.0 * width]]

    run(test)


def test_an_unbatchable_model_runs_one_by_one(signature: Signature) -> None:
    async def test() -> None:
        alone = signature.unbatched()
        batcher, (worker,), _, _ = await started(alone)
        answers = [batcher.submit(request(alone, value, 2)) for value in range(3)]
        for count in (1, 2, 3):
            await settle()
            assert worker.rows == [2] * count
            worker.finish()
        assert [(await answer)["y"].tolist() for answer in answers] == [[[12.0 * v]] * 2 for v in range(3)]

    run(test)


def test_under_load_a_batch_waits_for_as_many_rows_as_the_last_one(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature, max_delay=5.0)
        first = [batcher.submit(request(signature, 1)) for _ in range(4)]
        worker.finish()  # with three waiting: four are expected
        await settle()
        assert worker.rows == [1]
        first.append(batcher.submit(request(signature, 1)))
        assert worker.rows == [1, 4]
        worker.finish()
        await asyncio.gather(*first)

    run(test)


def test_no_batch_waits_longer_than_the_delay(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature, max_delay=0.02)
        answers = [batcher.submit(request(signature, 1)) for _ in range(3)]
        worker.finish()
        await settle()
        assert worker.rows == [1]
        await asyncio.sleep(0.1)
        assert worker.rows == [1, 2]
        worker.finish()
        await asyncio.gather(*answers)
        await asyncio.sleep(0.1)  # idle: the next one does not wait
        answer = batcher.submit(request(signature, 1))
        assert worker.rows == [1, 2, 1]
        worker.finish()
        await answer

    run(test)


def test_a_complete_batch_cancels_its_timer(signature: Signature) -> None:
    async def test() -> None:
        loop, timers = asyncio.get_running_loop(), []
        real = loop.call_later

        def noted(delay: float, *call: Any) -> asyncio.TimerHandle:
            timer = real(delay, *call)
            timers.extend([timer] if delay == 5.0 else [])
            return timer

        loop.call_later = noted  # type: ignore[assignment, method-assign]
        batcher, (worker,), _, _ = await started(signature, max_delay=5.0)
        answers = [batcher.submit(request(signature, 1)) for _ in range(3)]
        worker.finish()  # with two waiting: three are expected
        assert [timer.cancelled() for timer in timers] == [False]
        answers.append(batcher.submit(request(signature, 1)))
        assert worker.rows == [1, 3] and [timer.cancelled() for timer in timers] == [True]
        worker.finish()
        await asyncio.gather(*answers)

    run(test)


def test_cancelled_and_expired_requests_are_not_computed(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature)
        running = batcher.submit(request(signature, 1))
        left, stays = (batcher.submit(request(signature, value)) for value in (2, 3))
        late = batcher.submit(request(signature, 4, timeout=0.01))
        left.cancel()
        with pytest.raises(RequestError, match=r"within the deadline of 0\.01 s") as refused:
            await late
        assert refused.value.status == 504
        assert batcher.waiting == 1
        worker.finish()
        await settle()
        assert worker.rows == [1, 1]
        worker.finish()
        assert (await stays)["y"].tolist() == [[36.0]]
        await running

    run(test)


def test_a_full_queue_refuses_requests(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature, queue=2)
        answers = [batcher.submit(request(signature, 1)) for _ in range(3)]
        with pytest.raises(RequestError, match="2 requests wait") as refused:
            batcher.submit(request(signature, 1))
        assert refused.value.status == 429
        worker.finish()
        await settle()
        worker.finish()
        await asyncio.gather(*answers)

    run(test)


def test_after_a_failed_batch_each_request_runs_alone(signature: Signature) -> None:
    async def test() -> None:
        batcher, (worker,), _, _ = await started(signature)
        first = batcher.submit(request(signature, 0))
        good, bad = (batcher.submit(request(signature, value)) for value in (1, 2))
        worker.finish()
        await settle()
        assert worker.rows == [1, 2]
        worker.ends[-1](ModelFailed("broken"))
        await settle()
        worker.finish()
        assert (await good)["y"].tolist() == [[12.0]]
        await settle()
        worker.ends[-1](ModelFailed("broken"))
        with pytest.raises(RequestError, match="the model failed: broken") as refused:
            await bad
        assert refused.value.status == 500
        assert worker.rows == [1, 2, 1, 1]
        await first

    run(test)


def test_requests_of_a_dead_worker_run_once_more_on_the_next(signature: Signature) -> None:
    async def test() -> None:
        batcher, fakes, _, pool = await started(signature)
        answer = batcher.submit(request(signature, 1))
        for turn in (0, 1):
            fakes[turn].ends[-1](WorkerDied())
            fakes[turn].kill()
            await asyncio.sleep(0.05)
            assert pool.restarts == turn + 1
        with pytest.raises(RequestError, match="died twice") as refused:
            await answer
        assert refused.value.status == 503
        again = batcher.submit(request(signature, 2))
        fakes[2].finish()
        assert (await again)["y"].tolist() == [[24.0]]

    run(test)


def test_a_worker_that_exceeds_the_run_limit_is_killed(signature: Signature) -> None:
    async def test() -> None:
        batcher, fakes, _, _ = await started(signature, run=0.02)
        batcher.submit(request(signature, 1))
        while len(fakes) < 2:  # a new worker; run() limits the wait
            await asyncio.sleep(0.01)
        assert fakes[0].killed

    run(test)


def test_two_workers_run_at_a_time(signature: Signature) -> None:
    async def test() -> None:
        batcher, (one, two), _, _ = await started(signature, workers=2)
        answers = [batcher.submit(request(signature, value)) for value in range(5)]
        assert (one.rows, two.rows) == ([1], [1])
        two.finish()
        await settle()
        assert (one.rows, two.rows) == ([1], [1, 3])
        one.finish()
        two.finish()
        assert [(await answer)["y"].tolist() for answer in answers] == [[[12.0 * value]] for value in range(5)]
        await batcher.idle()

    run(test)
