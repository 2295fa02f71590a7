"""Times several models against each other: each alone in its process, in interleaved rounds, by medians.

Two models in one process would share caches, and their thread pools would compete; two models timed one after the
other would be measured under different load. So every model has a process of its own, only one process runs at any time
(the others are stopped), and each round gives every model one burst, in random order. Models are compared round by
round: a ratio of two bursts that were close in time. `race` restarts all processes several times, because a process's
memory layout makes it faster or slower for its whole life; see rectexport.runtime.timing.intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.timing.intervals import Interval, ratio_interval
from rectexport.runtime.timing.process import Contestant, started

LEAST_ROUNDS = 3
#: Seconds that a model runs for when it is its turn; at least three runs.
BURST = 0.02


class BurstRunner(Protocol):
    """A loaded model that runs in bursts: rectexport.runtime.timing.process.TimingProcess, or a fake in tests."""

    @property
    def said(self) -> dict[str, Any]:
        """What it reported about its model when it was loaded."""

    def wait_ready(self) -> None:
        """Block until the model is loaded."""

    def burst(self, seconds: float) -> list[float]:
        """Seconds of each of its runs."""


Start = Callable[[Contestant], AbstractContextManager[BurstRunner]]


@dataclass(frozen=True)
class Comparison:
    """The ratio of two times measured in the same rounds, with the half-width of its 95 % interval."""

    ratio: float
    noise: float


@dataclass(frozen=True)
class Timing:
    """One model's times.

    rounds     median seconds of each round's burst
    launches   the launch that each round belongs to
    samples    seconds of every single run
    said       what the timing process reported about its model
    """

    rounds: tuple[float, ...]
    launches: tuple[int, ...] = ()
    samples: tuple[float, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median over the rounds, in seconds."""
        return float(np.median(self.rounds))

    def against(self, base: Timing) -> Comparison:
        """The ratio of this time to that of `base`, both from one launch.

        The interval is a box plot's notch, 1.57·IQR/√n (McGill et al., 1978); it ignores variation between launches.
        """
        ratios = np.divide(self.rounds, base.rounds)
        low, high = np.percentile(ratios, (25, 75))
        return Comparison(float(np.median(ratios)), float(1.57 * (high - low) / np.sqrt(len(ratios))))

    def interval(self, base: Timing) -> Interval:
        """The interval of the ratio over launches. Raises ValueError for fewer than intervals.LEAST_LAUNCHES."""
        return ratio_interval(self.by_launch(), base.by_launch())

    def by_launch(self) -> list[list[float]]:
        """The rounds of each launch."""
        numbers = sorted(set(self.launches))
        return [
            [value for value, own in zip(self.rounds, self.launches, strict=True) if own == number]
            for number in numbers
        ]


@dataclass(frozen=True)
class Race:
    """How to time: total seconds of bursts for each model, seconds of warm-up per launch, number of launches."""

    seconds: float
    warm_up: float = 0.2
    launches: int = 10
    burst: float = BURST
    seed: int = 0


def race(
    contestants: Sequence[Contestant],
    how: Race,
    tick: Callable[[int], None] = lambda launch: None,
    start: Start = started,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time models against each other, by name; tick is called before every launch and after the last.

    Raises BadInput, or the timing process's own error, when a model cannot be loaded or run.
    """
    rng = np.random.default_rng(how.seed)
    share = how.seconds * len(contestants) / how.launches
    books = {entry.name: _Book() for entry in contestants}
    for launch in range(how.launches):
        tick(launch)
        with ExitStack() as stack:
            runners = _launch(stack, [contestants[i] for i in rng.permutation(len(contestants))], start)
            for runner in runners.values():
                runner.burst(how.warm_up)
            _run_rounds(runners, books, launch, how.burst, clock() + share, rng, clock)
            for name, runner in runners.items():
                books[name].said = runner.said
    tick(how.launches)
    return {name: book.timing() for name, book in books.items()}


def measure(
    models: Mapping[str, bytes],
    engine: str,
    *,
    seconds: float,
    burst: float = BURST,
    threads: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time models in one launch for about `seconds` in all, loading included, and at least LEAST_ROUNDS rounds.

    models   ONNX files' bytes by name, all inputs of static shape
    engine   onnxruntime or openvino
    tick     called after every round

    Raises BadInput when a model cannot be loaded or run.
    """
    end = time.perf_counter() + seconds
    with scratch_folder() as folder, ExitStack() as stack:
        contestants = []
        for index, (name, data) in enumerate(models.items()):
            path = folder / f"{index}.onnx"
            path.write_bytes(data)
            spec = {"model": str(path), "engine": engine, "threads": threads or usable_cores()}
            contestants.append(Contestant(name, spec))
        runners = _launch(stack, contestants, started)
        for runner in runners.values():
            runner.burst(burst)
        books = {name: _Book() for name in models}
        _run_rounds(runners, books, 0, burst, end, np.random.default_rng(0), time.perf_counter, tick)
    return {name: book.timing() for name, book in books.items()}


@dataclass
class _Book:
    """Collects one model's times."""

    rounds: list[float] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)
    said: Mapping[str, Any] = field(default_factory=dict)

    def add(self, launch: int, times: Sequence[float]) -> None:
        self.rounds.append(float(np.median(times)))
        self.launches.append(launch)
        self.samples.extend(times)

    def timing(self) -> Timing:
        return Timing(tuple(self.rounds), tuple(self.launches), tuple(self.samples), dict(self.said))


def _launch(stack: ExitStack, contestants: Sequence[Contestant], start: Start) -> dict[str, BurstRunner]:
    """Start all processes, so that they load at the same time; then wait for each."""
    runners = {entry.name: stack.enter_context(start(entry)) for entry in contestants}
    for runner in runners.values():
        runner.wait_ready()
    return runners


def _run_rounds(
    runners: Mapping[str, BurstRunner],
    books: Mapping[str, _Book],
    launch: int,
    burst: float,
    end: float,
    rng: np.random.Generator,
    clock: Callable[[], float],
    tick: Callable[[], None] = lambda: None,
) -> None:
    names, done = sorted(runners), 0
    while done < LEAST_ROUNDS or clock() < end:
        for index in rng.permutation(len(names)):
            books[names[index]].add(launch, runners[names[index]].burst(burst))
        done += 1
        tick()
