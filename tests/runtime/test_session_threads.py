"""One session for many threads: the same outputs as for one, futures, and a close that waits and frees."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.batching.calls import WORKERS
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.session import Session
from tests.runtime.tiny import dynamic_package

THREADS = 16


@pytest.fixture
def mixed(tmp_path: Path) -> Package:
    """A small convolution whose batch, height and width vary."""
    return dynamic_package(tmp_path / "mixed")


def images(count: int) -> list[np.ndarray]:
    """Distinct inputs of mixed shapes."""
    rng = np.random.default_rng(0)
    shapes = [(rng.integers(1, 5), 1, rng.integers(8, 17), rng.integers(8, 17)) for _ in range(count)]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def test_sixteen_threads_get_the_answers_of_one(mixed: Package) -> None:
    given = images(THREADS * 12)
    with load(mixed.path, "onnxruntime", threads=1) as session:
        alone = [session(image) for image in given]
        start = threading.Barrier(THREADS)

        def serve(part: int) -> list[np.ndarray]:
            start.wait()
            return [session(image) for image in given[part::THREADS]]

        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(serve, range(THREADS)))
    for part, answers in enumerate(parts):
        for got, wanted in zip(answers, alone[part::THREADS], strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_futures_hold_answers_and_errors(mixed: Package) -> None:
    given = images(20)
    with load(mixed.path, "onnxruntime", threads=1) as session:
        futures = [session.submit(image) for image in given]
        wrong = session.submit(given[0].astype(np.float64))
        for image, future in zip(given, futures, strict=True):
            np.testing.assert_array_equal(future.result(), session(image))
        assert isinstance(wrong.exception(), BadInput)
        with pytest.raises(BadInput, match="expected dtype float32, got float64"):
            wrong.result()


class Slow:
    """A runner that waits until the test lets it answer, and records its threads."""

    description = "Slow"
    inputs = outputs = ()

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.threads: set[str] = set()
        self.closed_with = -1
        self.answered = 0

    def run(self, feeds: Any) -> dict[str, Any]:
        self.threads.add(threading.current_thread().name)
        assert self.leave.wait(10)
        self.answered += 1
        return {"y": feeds["x"]}

    def close(self) -> None:
        self.closed_with = self.answered


def test_close_waits_for_what_was_submitted(mixed: Package) -> None:
    runner = Slow()
    session = Session(mixed, runner)
    (image,) = images(1)
    futures = [session.submit(image) for _ in range(10)]
    closing = threading.Thread(target=session.close)
    closing.start()
    while not session._closed:
        pass
    with pytest.raises(BadInput, match="the session was closed"):
        session.submit(image)
    runner.leave.set()
    closing.join(10)
    assert all(future.done() for future in futures)
    assert futures[9].result().shape == image.shape
    assert runner.closed_with == 10
    assert 1 <= len(runner.threads) <= WORKERS and all(name.startswith("rectexport") for name in runner.threads)
    assert not any(thread.name.startswith("rectexport_") for thread in threading.enumerate())


def test_close_frees_the_engine(mixed: Package) -> None:
    runner = OnnxRuntimeRunner(mixed.model_file, threads=1)
    session = Session(mixed, runner)
    session.submit(*images(1)).result()
    engine = weakref.ref(runner._session)
    freed = weakref.ref(runner)
    del runner
    session.close()
    gc.collect()
    assert engine() is None and freed() is None
    for call in (session, session.submit):
        with pytest.raises(BadInput, match=r"mixed: the session was closed; load the package again$"):
            call(*images(1))
    assert repr(session).startswith(f"<Session of {mixed.path}: ") and repr(session).endswith("; closed>")
