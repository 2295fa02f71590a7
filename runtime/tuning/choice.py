"""From measurements to an answer: which candidates nobody beats, and which one to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rectexport.runtime.tuning.candidate import Candidate, Record

LATENCY, THROUGHPUT = "latency", "throughput"


@dataclass(frozen=True)
class Bounds:
    """What a candidate must keep. max_latency: seconds that 99 % of its calls take at most; memory: bytes."""

    max_latency: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Figures:
    """A candidate's numbers. p50, p99: seconds of a call; throughput: items a second at the median."""

    p50: float
    p99: float
    throughput: float


def figures(candidate: Candidate, record: Record) -> Figures | None:
    """The numbers of a candidate that was timed."""
    if not record.samples:
        return None
    samples = np.asarray(record.samples)
    p50, p99 = np.percentile(samples, (50, 99))
    return Figures(float(p50), float(p99), float(candidate.items / p50))


def breach(candidate: Candidate, record: Record, bounds: Bounds) -> str:
    """Why a candidate does not keep the bounds; empty if it does, as far as it was measured."""
    if bounds.memory is not None and record.memory is not None and record.memory > bounds.memory:
        return f"{record.memory / 1e6:.0f} MB resident, more than {bounds.memory / 1e6:.0f} MB"
    timed = figures(candidate, record)
    if bounds.max_latency is not None and timed is not None and timed.p99 > bounds.max_latency:
        return f"99 % of the calls take up to {timed.p99 * 1e3:.3g} ms, more than {bounds.max_latency * 1e3:g} ms"
    return ""


def front(points: Mapping[str, Sequence[float]]) -> set[str]:
    """The names of points that no other is at least as good as everywhere and better somewhere. Larger is better."""

    def beaten(name: str) -> bool:
        own = np.asarray(points[name])
        others = (np.asarray(value) for other, value in points.items() if other != name)
        return any(bool((value >= own).all() and (value > own).any()) for value in others)

    return {name for name in points if not beaten(name)}


def simplest(equal: Sequence[Candidate], order: Callable[[Candidate], tuple[int, ...]]) -> Candidate:
    """Of candidates that cannot be told apart, the simplest."""
    return min(equal, key=order)
