"""Reads and checks the documents of a report, which are untrusted input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.errors import BadInput
from rectexport.runtime.report.documents import (
    Case,
    Check,
    Comparison,
    Contestant,
    Distance,
    GraphNode,
    Latency,
    Layer,
    Parity,
    PassChange,
    Profiled,
    ProfiledLayer,
    Rewrite,
    Rewrites,
    Side,
    Tried,
    Tuning,
)
from rectexport.runtime.report.text import sizes

MAX_BYTES = 256 << 20
Read = TypeVar("Read")


def read_parity(path: Path) -> Parity:
    """Read parity.json or the output of `rectexport parity --json`. Raises BadInput for anything else."""
    return _read(path, "a parity document; `rectexport parity PKG --json` writes one", _parity)


def read_latency(path: Path) -> Latency:
    """Read latency.json or the output of `rectexport bench --json`. Raises BadInput for anything else."""
    return _read(path, "a latency document; `rectexport bench PKG --json` writes one", _latency)


def read_rewrites(path: Path) -> Rewrites:
    """Read a package's rewrites.json. Raises BadInput for anything else."""
    return _read(path, "a document of rewrites; an export writes one", _rewrites)


def read_profile(path: Path) -> Profiled:
    """Read the output of `rectexport profile -o`. Raises BadInput for anything else."""
    return _read(path, "a profile; `rectexport profile PKG -o FILE` writes one", _profiled)


def read_tuning(path: Path) -> Tuning:
    """Read a package's tuning.json. Raises BadInput for anything else."""
    return _read(path, "a document of a search; `rectexport tune` writes one", _tuning)


def _read(path: Path, expected: str, build: Callable[[Any], Read]) -> Read:
    content = read_bounded(path, MAX_BYTES)
    with faults_as_bad_input(path, expected):
        return build(json.loads(content))


@contextmanager
def faults_as_bad_input(path: Path, expected: str) -> Iterator[None]:
    """Turn errors from a document's structure into BadInput that names the file."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise BadInput(f"{path}: expected {expected}; the field {error} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{path}: expected {expected}; {str(error)[:200]}") from None


def _parity(document: Any) -> Parity:
    return Parity(
        passed=bool(document["passed"]),
        reference=str(document["reference"]),
        backend=str(document["backend"]),
        tolerances={str(name): float(value) for name, value in document["tolerances"].items()},
        cases=tuple(_case(entry) for entry in document["cases"]),
        checks=tuple(_check(entry) for entry in document.get("metamorphic", ())),
    )


def _case(entry: Any) -> Case:
    return Case(
        label=str(entry["case"]),
        shapes={str(name): tuple(int(size) for size in shape) for name, shape in entry["shapes"].items()},
        outputs={str(name): _distance(value) for name, value in entry["outputs"].items()},
        layers=tuple(_layer(layer) for layer in entry["layers"]),
        failures=tuple(str(failure) for failure in entry["failures"]),
    )


def _check(entry: Any) -> Check:
    return Check(
        name=str(entry["check"]),
        at=str(entry["at"]),
        worst=max((float(value["relative_l2"]) for value in entry["outputs"].values()), default=0.0),
        bit_equal=bool(entry.get("bit_equal")),
        skipped=str(entry.get("skipped") or ""),
        failures=tuple(str(failure) for failure in entry["failures"]),
    )


def _layer(entry: Any) -> Layer:
    regions = {str(name): _distance(value) for name, value in entry["regions"].items()}
    return Layer(str(entry["tensor"]), str(entry["layer"]), _distance(entry), regions)


def _distance(entry: Any) -> Distance:
    max_abs, relative_l2, cosine = (float(entry[name]) for name in ("max_abs", "relative_l2", "cosine"))
    return Distance(max_abs, relative_l2, cosine, _optional(entry.get("top1")))


def _latency(document: Any) -> Latency:
    groups = (document.get(name) or {} for name in ("machine", "versions", "settings"))
    facts = {str(name): _fact(value) for group in groups for name, value in group.items() if value is not None}
    return Latency(
        contestants=tuple(_contestant(entry) for entry in document["contestants"]),
        comparisons=tuple(_comparison(entry) for entry in document["comparisons"]),
        facts=facts,
        warnings=tuple(str(warning) for warning in document.get("warnings", ())),
    )


def _fact(value: Any) -> str:
    """A value of any kind as one line of text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(entry)}" for name, entry in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_fact(entry) for entry in value) or "none"
    return str(value)


def _contestant(entry: Any) -> Contestant:
    shape = entry["shape"]  # a shape for each input by name, or only one shape
    shapes = list(shape.values()) if isinstance(shape, dict) else [shape]
    samples = entry.get("samples_ms") or entry.get("rounds_ms") or ()
    return Contestant(
        name=str(entry["name"]),
        backend=str(entry["backend"]),
        batch=int(entry["batch"]),
        shape=", ".join(sizes(each) for each in shapes),
        median=float(entry["median_ms"]),
        p90=_optional(entry.get("p90_ms")),
        p99=_optional(entry.get("p99_ms")),
        throughput=_optional(entry.get("throughput")),
        samples=tuple(float(value) for value in samples),
    )


def _comparison(entry: Any) -> Comparison:
    ratio, low, high = (float(entry[name]) for name in ("ratio", "low", "high"))
    name, base, verdict = (str(entry[name]) for name in ("name", "base", "verdict"))
    return Comparison(name, str(entry.get("backend", "")), base, int(entry["batch"]), ratio, low, high, verdict)


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _rewrites(document: Any) -> Rewrites:
    nodes, parameters = document["nodes"], document["parameters"]
    return Rewrites(
        before=_counts(nodes["before"]),
        after=_counts(nodes["after"]),
        parameters=None if parameters is None else int(parameters),
        passes=tuple(
            PassChange(
                name=str(entry["name"]),
                delta=_counts(entry["delta"]),
                kinds=int(entry["kinds"]),
                examples=tuple(_rewrite(example) for example in entry["examples"]),
            )
            for entry in document["passes"]
        ),
    )


def _counts(entry: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in entry.items()}


def _rewrite(entry: Any) -> Rewrite:
    return Rewrite(str(entry["tensor"]), int(entry["count"]), _side(entry["before"]), _side(entry["after"]))


def _side(entry: Any) -> Side:
    nodes = tuple(
        GraphNode(
            op=str(node["op"]),
            name=str(node["name"]),
            inputs=tuple(str(name) for name in node["inputs"]),
            outputs=tuple(str(name) for name in node["outputs"]),
            constants=tuple(tuple(int(size) for size in shape) for shape in node["constants"]),
        )
        for node in entry["nodes"]
    )
    return Side(nodes, int(entry["more"]))


def _profiled(document: Any) -> Profiled:
    return Profiled(
        description=str(document["description"]),
        batch=int(document["batch"]),
        wall=float(document["wall_ms"]),
        attributed=float(document["attributed"]),
        layers=tuple(_profiled_layer(entry) for entry in document["layers"]),
        outside={str(name): float(value) for name, value in document["outside_ms"].items()},
        memory={str(name): float(value) for name, value in document["memory"]["peak_bytes"].items()},
    )


def _profiled_layer(entry: Any) -> ProfiledLayer:
    return ProfiledLayer(
        name=str(entry["name"]),
        module=str(entry["module"]),
        passes=tuple(str(name) for name in entry["passes"]),
        ms=float(entry["ms"]),
        share=float(entry["share"]),
        bound=str(entry["bound"]),
        reorder=bool(entry["reorder"]),
    )


def _tuning(document: Any) -> Tuning:
    data = document["data"]
    return Tuning(
        chosen=str(document["chosen"]),
        reason=str(document["reason"]),
        goal=str(document["goal"]),
        quality="SNR, dB" if data is None else str(data["metric"]),
        seconds=float(document["seconds"]),
        candidates=tuple(_tried(entry) for entry in document["candidates"]),
    )


def _tried(entry: Any) -> Tried:
    accuracy = entry["accuracy"]
    return Tried(
        name=str(entry["name"]),
        state=str(entry["state"]),
        reason=str(entry["reason"]),
        p50=_optional(entry.get("p50_ms")),
        p99=_optional(entry.get("p99_ms")),
        throughput=_optional(entry.get("throughput")),
        quality=_optional(entry["snr_db"] if accuracy is None else accuracy),
        memory=_optional(entry["memory_bytes"]),
        size=float(entry["size_bytes"]),
        front=bool(entry["front"]),
    )
