"""Reads and checks what was measured of a package: latency, profile, search, accuracy; it is untrusted input."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.pictures import png_address
from rectexport.runtime.base.runner import Array
from rectexport.runtime.report.documents import (
    Answer,
    Comparison,
    Contestant,
    Evaluated,
    Item,
    Latency,
    Measured,
    Profiled,
    ProfiledLayer,
    Tried,
    Tuning,
    WorstItem,
)
from rectexport.runtime.report.reading import optional, read_document
from rectexport.runtime.report.text import sizes

#: Longest side of a picture in a document.
MOST_SIDE = 256


def read_latency(path: Path) -> Latency:
    """Read latency.json or the output of `rectexport bench --json`. Raises BadInput for anything else."""
    return read_document(path, "a latency document; `rectexport bench PKG --json` writes one", latency_of)


def read_profile(path: Path) -> Profiled:
    """Read the output of `rectexport profile -o`. Raises BadInput for anything else."""
    return read_document(path, "a profile; `rectexport profile PKG -o FILE` writes one", profiled_of)


def read_tuning(path: Path) -> Tuning:
    """Read a package's tuning.json. Raises BadInput for anything else."""
    return read_document(path, "a document of a search; `rectexport tune` writes one", tuning_of)


def read_evaluation(path: Path) -> Evaluated:
    """Read the output of `rectexport eval --json`. Raises BadInput for anything else."""
    return read_document(path, "an evaluation; `rectexport eval PKG --data DATA --json` writes one", evaluated_of)


def latency_of(document: Any) -> Latency:
    """The value of a latency document; raises as `parity_of`."""
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
        p90=optional(entry.get("p90_ms")),
        p99=optional(entry.get("p99_ms")),
        throughput=optional(entry.get("throughput")),
        samples=tuple(float(value) for value in samples),
    )


def _comparison(entry: Any) -> Comparison:
    ratio, low, high = (float(entry[name]) for name in ("ratio", "low", "high"))
    name, base, verdict = (str(entry[name]) for name in ("name", "base", "verdict"))
    backend, base_backend = (str(entry.get(name, "")) for name in ("backend", "base_backend"))
    return Comparison(name, backend, base, base_backend, int(entry["batch"]), ratio, low, high, verdict)


def profiled_of(document: Any) -> Profiled:
    """The value of a profile; raises as `parity_of`."""
    return Profiled(
        backend=str(document["backend"]),
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
        nodes=tuple(str(name) for name in entry["nodes"]),
        ms=float(entry["ms"]),
        share=float(entry["share"]),
        bound=str(entry["bound"]),
        reorder=bool(entry["reorder"]),
    )


def tuning_of(document: Any) -> Tuning:
    """The value of a tuning document; raises as `parity_of`."""
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
        p50=optional(entry.get("p50_ms")),
        p99=optional(entry.get("p99_ms")),
        throughput=optional(entry.get("throughput")),
        quality=optional(entry["snr_db"] if accuracy is None else accuracy),
        memory=optional(entry["memory_bytes"]),
        size=float(entry["size_bytes"]),
        front=bool(entry["front"]),
    )


def evaluated_of(document: Any) -> Evaluated:
    """The value of an evaluation; raises as `parity_of`."""
    reference, sample = document["reference"], document.get("sample")
    return Evaluated(
        data=str(document["data"]),
        items=int(document["items"]),
        metric=str(document["metric"]),
        unit=str(document["unit"]),
        reference=None if reference is None else _measured(reference),
        engines=tuple(_measured(entry) for entry in document["engines"]),
        sample=None if sample is None else _item(sample),
    )


def _measured(entry: Any) -> Measured:
    found = entry.get("difference")
    difference = None
    if found is not None:
        difference = float(found["value"]), optional(found["low"]), optional(found["high"])
    return Measured(
        str(entry["description"]),
        optional(entry.get("value")),
        difference,
        optional(entry.get("agreement")),
        tuple(_worst(item) for item in entry.get("worst", ())),
    )


def _worst(entry: Any) -> WorstItem:
    picture = _picture(entry["picture"])
    return WorstItem(str(entry["item"]), str(entry["told"]), "" if picture is None else png_address(picture))


def _item(entry: Any) -> Item:
    target = entry["target"]
    return Item(
        name=str(entry["item"]),
        target=None if target is None else int(target),
        picture=_picture(entry["picture"]),
        answers=tuple(
            Answer(
                model=str(answer["description"]),
                shape=tuple(int(size) for size in answer["shape"]),
                largest=tuple((int(place), float(value)) for place, value in answer["largest"]),
                picture=_picture(answer["picture"]),
            )
            for answer in entry["answers"]
        ),
    )


def _picture(entry: Any) -> Array | None:
    """Pixels as uint8 [H, W, channels]; raises ValueError for what are no pixels of a small picture."""
    if entry is None:
        return None
    shape = tuple(int(entry[name]) for name in ("height", "width", "channels"))
    if not (0 < shape[0] <= MOST_SIDE and 0 < shape[1] <= MOST_SIDE and shape[2] in (1, 3)):
        raise ValueError(f"a picture of {shape}; at most {MOST_SIDE} pixels a side, 1 or 3 channels")
    content = np.frombuffer(base64.b64decode(str(entry["pixels"]), validate=True), np.uint8)
    return content.reshape(shape)
