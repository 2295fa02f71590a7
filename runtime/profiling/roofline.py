"""What bounds a layer: arithmetic, memory, or neither (Williams, Waterman & Patterson, 2009, CACM 52(4), 65-76).

A layer needs at least operations / (operations a second) and at least bytes / (bytes a second). The larger of the two
is its bound; a layer that takes more than OVERHEAD times its bound is held up by something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rectexport.runtime.base.environment import usable_cores

COMPUTE, MEMORY, OTHER, UNKNOWN = "compute", "memory", "overhead", ""
#: A layer that takes this many times its bound is classed as overhead.
OVERHEAD = 4.0
_SIDE, _WORDS, _REPEATS = 1024, 1 << 24, 5


@dataclass(frozen=True)
class Peaks:
    """operations: of float32, a second; traffic: bytes read and written, a second."""

    operations: float
    traffic: float

    def classify(self, operations: int | None, traffic: int | None, seconds: float) -> str:
        """COMPUTE, MEMORY or OTHER; UNKNOWN where the sizes of a layer's tensors are."""
        if operations is None or traffic is None or seconds <= 0:
            return UNKNOWN
        arithmetic, moving = operations / self.operations, traffic / self.traffic
        if seconds > OVERHEAD * max(arithmetic, moving):
            return OTHER
        return COMPUTE if arithmetic >= moving else MEMORY


def host_peaks(threads: int = 0) -> Peaks:
    """What this machine does now with so many threads, 0 for all cores; takes 0.3 s.

    Operations are those of a matrix product of NumPy on all cores, times the share of the cores; traffic is that of
    copies of 64 MiB.
    """
    threads = threads or usable_cores()
    one = np.ones((_SIDE, _SIDE), np.float32)
    product = _fastest(lambda: one @ one)
    source, target = np.ones(_WORDS, np.float32), np.empty(_WORDS, np.float32)
    edges = np.linspace(0, _WORDS, threads + 1).astype(int)
    parts = [slice(low, high) for low, high in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:

        def copied() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        copying = _fastest(copied)
    return Peaks(2 * _SIDE**3 / product * min(threads / usable_cores(), 1.0), 2 * source.nbytes / copying)


def _fastest(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)
