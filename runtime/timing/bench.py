"""Runs a benchmark of several models at several batch sizes, and makes the document with its results."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rectexport.runtime.base.environment import usable_cores, version
from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.timing.entrants import Entrant, Match
from rectexport.runtime.timing.inputs import batch_of
from rectexport.runtime.timing.machine import (
    clocks,
    cpu_times,
    disturbance,
    gpus,
    load_average,
    load_between,
    machine,
)
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, Timing, race
from rectexport.runtime.timing.worker import INPUT_SETS, SEED

PERCENTILES = (50.0, 90.0, 99.0)
MOST_SAMPLES = 2000
_LIBRARIES = ("rectexport", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")

#: Times contestants; rectexport.runtime.timing.stopwatch.race, or a fake.
Stopwatch = Callable[[Sequence[Contestant], Race, Callable[[int], None]], dict[str, Timing]]


@dataclass(frozen=True)
class BenchOptions:
    """How to time. fail_if_slower is the share by which a model may be slower (0.05: 5 %); None: any."""

    race: Race
    percentiles: tuple[float, ...] = PERCENTILES
    fail_if_slower: float | None = None
    threads: int = field(default_factory=usable_cores)
    transfers: bool = True


class BenchResult(dict[str, Any]):
    """The document that docs/latency.md describes; a notebook shows it as a table."""

    def __repr__(self) -> str:
        told = [
            f"{entry['name']} takes {entry['ratio']:.3f} of {entry['base']}, batch {entry['batch']}: {entry['verdict']}"
            for entry in self["comparisons"]
        ]
        times = [f"{entry['name']} {entry['median_ms']:.3g} ms" for entry in self["contestants"]]
        return f"<BenchResult of {self['package']}: {'; '.join(told or times)}>"

    def _repr_html_(self) -> str | None:
        return as_html("bench", self)


def run_bench(
    package: str,
    entrants: Match,
    inputs: Sequence[Sequence[TensorSpec]],
    options: BenchOptions,
    tick: Callable[[int, int, str], None] = lambda done, total, text: None,
    stopwatch: Stopwatch = race,
) -> BenchResult:
    """Time all entrants on each set of inputs, one set after another.

    tick is called with the number of finished launches, their total, and a label. Returns the document that
    docs/latency.md describes. Raises what a timing process raised that could not load or run its model.
    """
    before, load = cpu_times(), load_average()
    rows: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    launches = options.race.launches
    for index, specs in enumerate(inputs):

        def told(launch: int, done: int = index * launches, size: int = batch_of(specs)) -> None:
            tick(done + launch, len(inputs) * launches, f"batch {size}")

        times = stopwatch([entry.contestant(specs) for entry in entrants.entrants], options.race, told)
        rows += [_row(entry, specs, times[entry.key], options) for entry in entrants.entrants]
        comparisons += [_comparison(*pair, batch_of(specs), times) for pair in entrants.pairs]
    meanwhile = load_between(before, cpu_times())
    warned = disturbance(meanwhile, usable_cores())
    return BenchResult(
        {
            "passed": not too_slow(comparisons, options.fail_if_slower),
            "package": package,
            "machine": {
                **machine(),
                "cores_in_all": os.cpu_count(),
                "clocks": clocks(),
                "gpus": gpus(),
                "loadavg_before": load,
                "load_meanwhile": meanwhile,
            },
            "versions": {"python": platform.python_version(), **_versions()},
            "settings": settings(options),
            "warnings": [warned] if warned else [],
            "contestants": rows,
            "comparisons": comparisons,
        }
    )


def settings(options: BenchOptions) -> dict[str, Any]:
    """The options as plain values."""
    how = options.race
    return {
        "duration_s": how.seconds,
        "warm_up_ms": how.warm_up * 1e3,
        "launches": how.launches,
        "burst_ms": how.burst * 1e3,
        "order_seed": how.seed,
        "input_sets": INPUT_SETS,
        "input_seed": SEED,
        "threads": options.threads,
        "percentiles": list(options.percentiles),
        "transfers": "included" if options.transfers else "excluded",
        "fail_if_slower": options.fail_if_slower,
    }


def too_slow(comparisons: Sequence[Mapping[str, Any]], bound: float | None) -> list[Mapping[str, Any]]:
    """The comparisons whose whole interval lies above 1 + bound."""
    return [] if bound is None else [entry for entry in comparisons if entry["low"] > 1 + bound]


def _row(entrant: Entrant, specs: Sequence[TensorSpec], timing: Timing, options: BenchOptions) -> dict[str, Any]:
    samples = np.array(timing.samples) * 1e3
    percentiles = sorted({*PERCENTILES, *options.percentiles})
    return {
        "name": entrant.name,
        "backend": entrant.backend,
        "batch": batch_of(specs),
        "shape": {spec.name: list(spec.shape) for spec in specs},
        **timing.said,
        "runs": len(samples),
        "median_ms": float(np.median(samples)),
        **{f"p{entry:g}_ms": float(np.percentile(samples, entry)) for entry in percentiles},
        "throughput": float(batch_of(specs) * 1e3 / samples.mean()),
        "rounds_ms": [value * 1e3 for value in timing.rounds],
        "launch_of_round": list(timing.launches),
        "samples_ms": thinned(samples.tolist(), MOST_SAMPLES),
    }


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most `most` of the values, evenly spaced and in order."""
    if len(values) <= most:
        return list(values)
    return [values[index] for index in np.linspace(0, len(values) - 1, most).astype(int)]


def _comparison(entrant: Entrant, base: Entrant, batch: int, times: Mapping[str, Timing]) -> dict[str, Any]:
    interval = times[entrant.key].interval(times[base.key])
    return {
        "name": entrant.name,
        "backend": entrant.backend,
        "base": base.name,
        "base_backend": base.backend,
        "batch": batch,
        "ratio": interval.ratio,
        "low": interval.low,
        "high": interval.high,
        "verdict": interval.verdict,
    }


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _LIBRARIES}
    return {name: value for name, value in found.items() if value}
