"""What a step gets: where to write, whether there is a GPU, and a clock.

Times are medians of rounds in which all that is compared takes turns, between CUDA events, after a warm-up. Without a
GPU (a dry run) the same lines run on the CPU, briefly: such times mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.record import Record

WARM_UP_MS, ROUND_MS, ROUNDS = 200.0, 15.0, 15


@dataclass(frozen=True)
class Bench:
    """record; dry: no GPU, so tiny sizes on the CPU; sources: CMakeLists.txt's folder; work: for built programs."""

    record: Record
    dry: bool
    sources: Path
    work: Path
    #: time.monotonic() after which no further part is begun.
    end: float = field(default=float("inf"))

    @cached_property
    def device(self) -> str:
        """PyTorch's name of the device."""
        return "cpu" if self.dry else "cuda"

    def left(self) -> float:
        """Seconds in which further parts may begin."""
        return self.end - time.monotonic()

    def race(self, runs: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Milliseconds of one run of each, one figure for each round."""

        def clock(run: Callable[[], object]) -> Callable[[int], float]:
            return lambda count: self._time(run, count)

        return self.rounds({name: clock(run) for name, run in runs.items()})

    def rounds(self, clocks: Mapping[str, Callable[[int], float]]) -> dict[str, list[float]]:
        """The same for clocks of one's own: a clock runs `count` times and returns the milliseconds of one run.

        All take turns, in another order each round.
        """
        rounds, budget = (2, 0.0) if self.dry else (ROUNDS, ROUND_MS)
        counts = {name: self._count(clock, budget) for name, clock in clocks.items()}
        names, found = list(clocks), {name: list[float]() for name in clocks}
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                found[name].append(clocks[name](counts[name]))
        return found

    def _count(self, clock: Callable[[int], float], budget: float) -> int:
        """Runs of one round, found while warming up."""
        spent, once = 0.0, clock(1)
        while spent < (0 if self.dry else WARM_UP_MS):
            once = clock(5)
            spent += 5 * once
        return int(np.clip(budget / max(once, 1e-3), 1, 500))

    def _time(self, run: Callable[[], object], count: int) -> float:
        """Milliseconds of one of `count` runs."""
        if self.dry:
            begin = time.perf_counter()
            for _ in range(count):
                run()
            return (time.perf_counter() - begin) * 1e3 / count
        import torch

        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        for _ in range(count):
            run()
        events[1].record()
        torch.cuda.synchronize()
        return float(events[0].elapsed_time(events[1])) / count

    def captured(self, run: Callable[[], Any]) -> Callable[[], object]:
        """The same work as one CUDA graph; in a dry run as it is."""
        if self.dry:
            return run
        import torch

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay


def ratio(one: list[float], base: list[float]) -> str:
    """one / base within each round, as median ± half of the middle 90 %."""
    ratios = np.asarray(one) / np.asarray(base)
    low, high = np.percentile(ratios, (5, 95))
    return f"{np.median(ratios):.3f} ± {(high - low) / 2:.3f}"


def milliseconds(rounds: list[float]) -> str:
    """The median."""
    return f"{np.median(rounds):.4f}"
