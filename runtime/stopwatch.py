"""Times several models against each other: each alone in its process, in interleaved rounds, by medians.

Two models in one process would share caches and thread pools that spin against each other; two that are timed
one after the other would be compared across whatever else the machine did meanwhile. So every model has a
process of its own, only one of them runs at any time, and each round gives every model one burst. Models are
compared round by round: a ratio of two bursts that were neighbours in time. Engines' threads go on spinning for a
while when a run has ended, so a burst waits until those of the burst before it sleep.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.environment import version
from rectexport.runtime.errors import BadInput
from rectexport.runtime.temporary import scratch_folder

LEAST_ROUNDS = 3
#: Seconds before every burst. ONNX Runtime's threads spin for 20 to 50 ms after a run: without a pause the ratios of
#: models of 5 ms on two cores scattered eight times as much, and were off by a third.
PAUSE = 0.06


@dataclass(frozen=True)
class Comparison:
    """Time by time as measured in the same rounds, with the half-width of its 95 % interval."""

    ratio: float
    noise: float


@dataclass(frozen=True)
class Timing:
    """Median seconds of each round's burst."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, in seconds."""
        return float(np.median(self.rounds))

    def against(self, base: Timing) -> Comparison:
        """This one's time by that of `base`. The interval is a box plot's notch, 1.57·IQR/√n (McGill et al., 1978)."""
        ratios = np.divide(self.rounds, base.rounds)
        low, high = np.percentile(ratios, (25, 75))
        return Comparison(float(np.median(ratios)), float(1.57 * (high - low) / np.sqrt(len(ratios))))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What timings depend on, as far as it can be told: processor, cores, engines."""
    engines = {name: version(name) for name in ("onnxruntime", "openvino")}
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": platform.system(),
        **{name: found for name, found in engines.items() if found},
    }


def measure(
    models: Mapping[str, bytes],
    engine: str,
    *,
    seconds: float,
    burst: float = 0.06,
    threads: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time models in interleaved rounds for about `seconds` in all, loading included, and at least LEAST_ROUNDS rounds.

    models   ONNX files' bytes by name, all inputs float32 and of static shape
    engine   a key of rectexport.runtime.timing_worker.ENGINES
    tick     called after every round

    Raises BadInput when a model cannot be loaded or run.
    """
    end = time.perf_counter() + seconds
    with scratch_folder() as folder, ExitStack() as stack:
        workers = {}
        for index, (name, data) in enumerate(models.items()):
            path = folder / f"{index}.onnx"
            path.write_bytes(data)
            workers[name] = stack.enter_context(_worker(path, name, engine, threads or usable_cores()))
        rounds: dict[str, list[float]] = {name: [] for name in workers}
        done = 0
        while done < LEAST_ROUNDS or time.perf_counter() < end:
            # Turned by one each round, so that no model always follows the same other.
            order = list(workers)[done % len(workers) :] + list(workers)[: done % len(workers)]
            for name in order:
                time.sleep(PAUSE)
                rounds[name].append(float(np.median(_ask(workers[name], name, burst))))
            done += 1
            tick()
    return {name: Timing(tuple(values)) for name, values in rounds.items()}


@contextmanager
def _worker(path: Path, name: str, engine: str, threads: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "rectexport.runtime.timing_worker", str(path), engine, str(threads)]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise BadInput(_failure(process, name, engine))
            yield process
        finally:
            process.kill()


def _ask(process: subprocess.Popen[str], name: str, seconds: float) -> list[float]:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        return list(json.loads(process.stdout.readline()))
    except (OSError, ValueError):
        raise BadInput(_failure(process, name, "the engine")) from None


def _failure(process: subprocess.Popen[str], name: str, engine: str) -> str:
    process.kill()
    assert process.stderr is not None
    lines = [line for line in process.stderr.read().splitlines() if line.strip()]
    return f"{name}: could not be timed on {engine}: {lines[-1][:300] if lines else 'its process ended'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "model\t"))]
    return ", model ".join(dict.fromkeys(names[::-1])) if names else platform.machine()
