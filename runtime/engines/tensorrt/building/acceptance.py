"""Rejects a new engine unless it matches the reference.

A parser may accept a model and misread it: TensorRT 8.6 reads ReduceMean of opset 18 without an error and averages over
all axes, the batch included. So every build ends with a run of the package's goldens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.profiles import Profile, choose
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.errors import Option, ParityError
from rectexport.runtime.package.folder import GOLDENS, Package

#: Allowed relative L2 from PyTorch in float64, by the engine's precision. Float32 kernels of a GPU may transform
#: (Winograd) and sum in any order; a misread model is off by 0.1 or more.
RELATIVE_L2 = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 5e-3, "bf16": 2e-2, "int8": 1e-2}


def allowed(package: Package, precision: str) -> float:
    """The allowed relative L2 for this package in that precision; the manifest's tolerance if it is wider."""
    return max(package.manifest.tolerances.get("relative_l2", 0.0), RELATIVE_L2[precision])


@dataclass(frozen=True)
class Trial:
    """A run: its inputs, and of each output the rows that are known, with their values; None for all rows."""

    what: str
    feeds: dict[str, Array]
    wanted: dict[str, Array]
    rows: tuple[int, ...] | None = None


def accept(engine: Engine, package: Package, precision: str) -> dict[str, Any] | None:
    """Run the package's goldens and compare. Returns relative_l2 of the worst output and its bound, for the manifest.

    Every profile runs every golden that it contains, and, where the batch is dynamic, a golden row among other rows at
    its smallest, usual and largest batch: engines that are right at the example's batch were wrong at others.

    None if the package has no goldens, or no profile contains their shapes. Raises ParityError when an output exceeds
    the bound.
    """
    if GOLDENS not in package.manifest.files:
        return None
    bound, worst = allowed(package, precision), None
    with cuda.driver().active():
        lane = Lane(engine, graphs=False)
        try:
            for index, profile in enumerate(engine.profiles):
                for trial in _trials(package, profile):
                    distance = _distance(lane, engine, index, trial, bound, package)
                    worst = max(distance, worst or 0.0)
        finally:
            lane.close()
    return None if worst is None else {"relative_l2": worst, "allowed": bound}


def _trials(package: Package, profile: Profile) -> Iterator[Trial]:
    for label, (feeds, wanted) in package.golden_cases().items():
        if _holds(profile, feeds):
            yield Trial(f"example {label!r}", feeds, wanted)
        if _has_batch(package):
            bounds = next(iter(profile.values()))
            sizes = {side[0] for side in (bounds.min, bounds.opt, bounds.max)}
            trials = (_among_others(size, label, feeds, wanted) for size in sorted(sizes - {_batch(feeds)}))
            yield from (trial for trial in trials if _holds(profile, trial.feeds))


def _among_others(size: int, label: str, feeds: dict[str, Array], wanted: dict[str, Array]) -> Trial:
    """A golden's first row as the first, middle and last of a batch; the rows between are its values in other order."""
    rows = tuple(sorted({0, size // 2, size - 1}))
    batches = {}
    for name, array in feeds.items():
        row = array[:1]
        other = np.flip(row, axis=tuple(range(1, row.ndim)))
        batches[name] = np.concatenate([row if index in rows else other for index in range(size)])
    found = {name: np.concatenate([value[:1]] * len(rows)) for name, value in wanted.items()}
    return Trial(f"example {label!r} in rows {', '.join(map(str, rows))} of a batch of {size}", batches, found, rows)


def _distance(lane: Lane, engine: Engine, profile: int, trial: Trial, bound: float, package: Package) -> float:
    """The worst output's relative L2. Raises ParityError beyond the bound."""
    lane.bind(profile, {name: array.shape for name, array in trial.feeds.items()})
    results = lane.run({spec.name: trial.feeds[spec.name].astype(spec.dtype, order="C") for spec in engine.inputs})
    distances = {}
    for name, value in trial.wanted.items():
        result = results[name] if trial.rows is None else results[name][list(trial.rows)]
        distances[name] = compare(value, result).relative_l2
        if not distances[name] <= bound:
            raise ParityError(
                f"{package.path}: the engine's output differs from PyTorch's: {name}: relative L2 "
                f"{distances[name]:.1e}, allowed {bound:.0e}, {trial.what}; no plan was stored. {_way_out(trial)}"
                "TensorRT 8.6 misreads operators after opset 17: export with ",
                Option("target", "tensorrt"),
                "; otherwise report this with the model's architecture",
            )
    return max(distances.values(), default=0.0)


def _way_out(trial: Trial) -> str:
    if trial.rows is None:
        return ""
    return "If the model's rows depend on each other, build for the example's batch alone, with --profile. "


def _holds(profile: Profile, feeds: Mapping[str, Array]) -> bool:
    return choose([profile], {name: array.shape for name, array in feeds.items()}) is not None


def _has_batch(package: Package) -> bool:
    """Whether all inputs and outputs share a dynamic first axis."""
    first = {entry.shape[:1] for entry in (*package.manifest.inputs, *package.manifest.outputs)}
    return len(first) == 1 and all(isinstance(size, str) for axis in first for size in axis) and () not in first


def _batch(feeds: Mapping[str, Array]) -> int:
    return int(next(iter(feeds.values())).shape[0])
