"""tuning.json: the candidates with what was measured, the Pareto front, the choice and how to get it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rectexport.runtime.base.documents import strict
from rectexport.runtime.layouts import AUTO_LAYOUT
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.bench import thinned
from rectexport.runtime.timing.machine import clocks, machine
from rectexport.runtime.timing.worker import shared_threads
from rectexport.runtime.tuning.candidate import GPU, TENSORRT, Candidate, Variant
from rectexport.runtime.tuning.choice import figures, front
from rectexport.runtime.tuning.search import Found, Search

FORMAT, VERSION = "rectexport-tuning", 1
MOST_SAMPLES = 200


def tuning_document(
    search: Search, found: Found, refused: Mapping[str, str], data: Mapping[str, Any] | None, command: Sequence[str]
) -> dict[str, Any]:
    """The document. refused: variants that could not be made, with the reason; command makes the result again."""
    rows = {candidate.key: _row(candidate, search, found) for candidate in found.candidates}
    best = _pareto(rows)
    goal = search.goal
    document = {
        "format": FORMAT,
        "version": VERSION,
        "goal": goal.measure,
        "bounds": {
            "max_latency_ms": None if goal.bounds.max_latency is None else goal.bounds.max_latency * 1e3,
            "memory_bytes": goal.bounds.memory,
            "max_drop": goal.max_drop,
        },
        "machine": {**machine(), "clocks": clocks(), "python": platform.python_version()},
        "data": data,
        "seed": search.seed,
        "seconds": round(search.state.spent, 1),
        "separated": found.separated,
        "candidates": [{**row, "front": key in best} for key, row in rows.items()],
        "refused_variants": dict(refused),
        "left_out": dict(search.space.left_out),
        "chosen": None if found.chosen is None else found.chosen.key,
        "reason": found.reason,
        "load": None if found.chosen is None else load_options(found.chosen),
        "command": list(command),
    }
    checked: dict[str, Any] = strict(document)
    return checked


def load_options(chosen: Candidate) -> dict[str, Any]:
    """Arguments of rectexport.load that realise the choice, with `streams` calls at the same time."""
    if chosen.backend in GPU:
        return {"backend": chosen.backend, "cuda_graphs": chosen.cuda_graphs}
    threads, streams = shared_threads({"engine": chosen.backend, "threads": chosen.threads, "streams": chosen.streams})
    options: dict[str, Any] = {"backend": chosen.backend, "threads": threads}
    options |= {"streams": streams} if streams else {}
    return options | ({"layout": chosen.layout} if chosen.layout != AUTO_LAYOUT else {})


def _row(candidate: Candidate, search: Search, found: Found) -> dict[str, Any]:
    record, variant = found.records[candidate.key], search.variant(candidate)
    timed = figures(candidate, record)
    times = {} if timed is None else {
        "p50_ms": timed.p50 * 1e3,
        "p99_ms": timed.p99 * 1e3,
        "throughput": timed.throughput,
        "samples_ms": thinned([value * 1e3 for value in record.samples], MOST_SAMPLES),
    }  # fmt: skip
    interval = None if record.ratio is None else [record.ratio, record.low, record.high]
    return {
        "name": candidate.key,
        "precision": variant.precision,
        "form": variant.form,
        "placement": variant.placement,
        "backend": candidate.backend,
        "threads": candidate.threads or None,
        "streams": candidate.streams,
        "batch": candidate.batch,
        "layout": candidate.layout,
        "cuda_graphs": candidate.cuda_graphs,
        "state": record.state,
        "reason": record.reason,
        **times,
        "ratio": interval,
        "accuracy": record.accuracy,
        "drop": None if record.drop is None else list(record.drop),
        "snr_db": record.snr,
        "memory_bytes": record.memory,
        "size_bytes": size_of(variant, candidate.backend),
    }


def size_of(variant: Variant, backend: str) -> int:
    """Bytes of the files that a backend loads."""
    package = Package.open(variant.package)
    if backend == TENSORRT:
        return (package.path / variant.plan).stat().st_size
    names = [package.model_name(backend), *(name for name in package.manifest.files if name.endswith(".onnx.data"))]
    return sum((Path(variant.package) / name).stat().st_size for name in names)


def _pareto(rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names of candidates that none beats in latency, throughput, accuracy (or SNR), memory and size together."""
    points = {}
    for name, row in rows.items():
        if "p50_ms" in row and row["state"] != "refused":
            quality = row["accuracy"] if row["accuracy"] is not None else row["snr_db"] or 0.0
            memory = row["memory_bytes"] or 0
            points[name] = (-row["p50_ms"], -row["p99_ms"], row["throughput"], quality, -memory, -row["size_bytes"])
    return front(points)
