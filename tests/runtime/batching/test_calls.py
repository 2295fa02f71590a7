"""Submitted calls share runs where rows are independent, and get what they would get alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.batching import calls
from rectexport.runtime.batching.calls import Joining, SubmittedCalls
from rectexport.runtime.batching.rows import RowVerdict
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from tests.runtime.tiny import dynamic_package

Make = Callable[..., SubmittedCalls]


class Gate:
    """Runs y = x + 1 when the test opens it, and records the rows of every run. It takes no negative numbers."""

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.rows: list[int] = []

    def __call__(self, feeds: Any) -> dict[str, Any]:
        self.rows.append(len(feeds["x"]))
        self.entered.release()
        assert self.open.wait(10)
        if np.any(feeds["x"] < 0):
            raise BadInput("negative")
        return {"y": feeds["x"] + 1}


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verdict that the engine gives on its rows, and then every question."""
    verdicts = ["independent"]

    def judge(*given: Any) -> RowVerdict:
        verdicts.append("asked")
        return RowVerdict(verdicts[0])

    monkeypatch.setattr(calls, "judge_package", judge)
    return verdicts


def made(gate: Gate, folder: Path, rows: str = "independent", **joining: Any) -> SubmittedCalls:
    """Calls of a package of up to 4 rows."""
    return SubmittedCalls(gate, dynamic_package(folder / "net", rows=rows), Joining(**{"max_delay": 0.0, **joining}))


def image(value: float, rows: int = 1, size: int = 8) -> np.ndarray:
    return np.full((rows, 1, size, size), value, np.float32)


def submit(submitted: SubmittedCalls, *images: Any) -> list[Any]:
    return [submitted.submit({"x": x}, lambda results: results["y"]) for x in images]


def behind_one(gate: Gate, submitted: SubmittedCalls, *images: Any) -> list[Any]:
    """Futures of these, submitted while another call runs; then the gate is opened and all are waited for."""
    first = submit(submitted, image(0))
    assert gate.entered.acquire(timeout=10)
    futures = submit(submitted, *images)
    gate.open.set()
    submitted.close()
    assert first[0].result().max() == 1
    return futures


def test_waiting_calls_share_a_run_and_get_their_own_rows(gate: Gate, tmp_path: Path, asked: list[str]) -> None:
    futures = behind_one(gate, made(gate, tmp_path), image(1), image(2, rows=2), image(3), image(4))
    assert gate.rows == [1, 4, 1] and asked == ["independent", "asked"]
    for value, rows, future in zip((1, 2, 3, 4), (1, 2, 1, 1), futures, strict=True):
        np.testing.assert_array_equal(future.result(), image(value + 1, rows))
        assert future.result().base is None  # no call's answer keeps the others' in memory


def test_calls_that_cannot_share_a_run_have_their_own(gate: Gate, tmp_path: Path, asked: list[str]) -> None:
    images = (image(1), image(2, size=9), image(3).astype(np.float64), [[4.0]], image(5, rows=4))
    behind_one(gate, made(gate, tmp_path), *images[:3])
    assert gate.rows == [1, 1, 1, 1]
    listed, other = Gate(), tmp_path / "other"
    (_, odd) = behind_one(listed, made(listed, other), *images[4:], {"no": "array"})
    assert listed.rows == [1, 4, 1] and isinstance(odd.exception(), TypeError)


def test_only_the_call_that_fails_in_a_joined_run_fails(gate: Gate, tmp_path: Path, asked: list[str]) -> None:
    good, bad, last = behind_one(gate, made(gate, tmp_path), image(1), image(-1), image(2))
    assert gate.rows == [1, 3, 1, 1, 1]
    assert good.result().max() == 2 and last.result().max() == 3
    with pytest.raises(BadInput, match="negative"):
        bad.result()


@pytest.mark.parametrize("rows", ["dependent", "not shown", ""])
def test_rows_that_are_not_proven_are_not_joined(gate: Gate, tmp_path: Path, rows: str, asked: list[str]) -> None:
    gate.open.set()
    submitted = made(gate, tmp_path, rows)
    futures = submit(submitted, *[image(value) for value in range(8)])
    submitted.close()
    assert gate.rows == [1] * 8 and asked == ["independent"]
    assert [future.result().max() for future in futures] == list(range(1, 9))


def test_an_engine_that_disagrees_joins_nothing(gate: Gate, tmp_path: Path, asked: list[str]) -> None:
    asked[0] = "dependent"
    behind_one(gate, made(gate, tmp_path), image(1), image(2))
    assert gate.rows == [1, 1, 1] and asked == ["dependent", "asked"]


def test_a_cancelled_call_is_not_run(gate: Gate, tmp_path: Path, asked: list[str]) -> None:
    submitted = made(gate, tmp_path)
    submit(submitted, image(0))
    assert gate.entered.acquire(timeout=10)
    first, second = submit(submitted, image(1), image(2))
    assert first.cancel()
    gate.open.set()
    submitted.close()
    assert gate.rows == [1, 1] and second.result().max() == 3


def test_a_session_joins_calls_and_answers_as_it_does_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = dynamic_package(tmp_path / "net", rows="independent")
    generator = np.random.default_rng(0)
    images = [generator.standard_normal((1, 1, 8, 8), np.float32) for _ in range(24)]
    sizes: list[int] = []
    run = OnnxRuntimeRunner.run

    def noted(self: Any, feeds: Any) -> Any:
        sizes.append(len(feeds["x"]))
        return run(self, feeds)

    for most in (4, 1):
        with load(package.path, "onnxruntime", threads=0, max_batch=most, max_delay=0.2) as session:
            alone = [session(x) for x in images]
            session.submit(images[0]).result()
            monkeypatch.setattr(OnnxRuntimeRunner, "run", noted)
            for future, expected in zip([session.submit(x) for x in images], alone, strict=True):
                np.testing.assert_allclose(future.result(), expected, rtol=1e-6, atol=1e-6)
            wrong = session.submit(images[0], images[1])
        monkeypatch.undo()
        assert max(sizes) == most
        assert isinstance(wrong.exception(), BadInput) and "expected 1 input" in str(wrong.exception())
        sizes.clear()


def test_limits_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    package = dynamic_package(tmp_path / "net")
    for wrong in ({"max_batch": 0}, {"max_delay": -1.0}):
        with pytest.raises(UsageError, match="expected at least 1, and at least 0 seconds"):
            load(package.path, "onnxruntime", **wrong)


def test_a_package_is_asked_with_its_goldens(tmp_path: Path) -> None:
    package: Package = dynamic_package(tmp_path / "net", rows="independent")
    runner = OnnxRuntimeRunner(package.model_file, threads=1)
    assert calls.judge_package(runner.run, package, 1, 4).verdict == "independent"
    centred = calls.judge_package(lambda feeds: {"y": feeds["x"] - feeds["x"].mean()}, package, 1, 4)
    assert centred.verdict == "dependent"
    runner.close()
