"""Write the files of a package; the caller renames the folder when it is complete."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import KINDS, Source
from rectexport.exporter.graph.light import is_larger
from rectexport.exporter.graph.results import PassResult
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.files import create_executable, sha256
from rectexport.runtime.base.runner import Array
from rectexport.runtime.package import manifest
from rectexport.runtime.package.folder import GOLDENS, MODEL, WEIGHTS

#: protobuf's limit for one message; larger weights go to a file of their own.
EXTERNAL_DATA_BYTES = 2**31 - 1
_LIBRARIES = ("rectexport", "torch", "onnx", "onnxscript", "onnx-graphsurgeon", "onnxruntime", "numpy")


def write_model(folder: Path, model: ModelProto, notes: Mapping[str, str], limit: int = EXTERNAL_DATA_BYTES) -> Path:
    """Write model.onnx with `notes` in its metadata; weights go beside it when the model exceeds `limit` bytes."""
    note(model, notes)
    external = is_larger(model, limit)
    options: dict[str, Any] = {}
    if external:
        options = {"save_as_external_data": True, "location": WEIGHTS, "all_tensors_to_one_file": True}
    onnx.save_model(model, str(folder / MODEL), **options)
    if external:
        onnx.load_external_data_for_model(model, str(folder))  # saving took the weights out of `model`
    return folder / MODEL


def note(model: ModelProto, notes: Mapping[str, str]) -> None:
    """Set `notes` in the model's metadata; what a source file says there under other keys stays."""
    own = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**own, **notes})


Goldens = tuple[Mapping[str, Array], Mapping[str, Array]]


def write_goldens(folder: Path, first: Goldens, more: Mapping[str, Goldens] | None = None) -> None:
    """Inputs and the reference's outputs, float64 stored as float32; keys input.NAME and output.NAME.

    Arrays of further cases, by label, are called LABEL|input.NAME and LABEL|output.NAME.
    """
    arrays: dict[str, Array] = {}
    for prefix, (feeds, outputs) in {"": first, **{f"{label}|": case for label, case in (more or {}).items()}}.items():
        arrays.update({f"{prefix}input.{name}": array for name, array in feeds.items()})
        for name, array in outputs.items():
            arrays[f"{prefix}output.{name}"] = array.astype(np.float32) if array.dtype == np.float64 else array
    np.savez(folder / GOLDENS, **arrays)  # type: ignore[arg-type]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write sorted, indented, strict JSON: infinite distances become strings."""
    path.write_text(json.dumps(strict(document), indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def write_reproduce(folder: Path, command: Sequence[str]) -> None:
    """Write reproduce.sh, which makes this package again in the folder that it is given."""
    script = folder / "reproduce.sh"
    line = f'exec {shlex.join(command)} -o "${{1:-reproduced}}"'
    create_executable(script)
    script.write_text(
        f"#!/bin/sh\n# Makes this package again, in the folder given (default: reproduced).\n{line}\n", encoding="utf-8"
    )


def write_manifest(
    folder: Path,
    model: ModelProto,
    source: Source,
    inputs: Sequence[InputPlan],
    passes: Sequence[PassResult],
    tolerances: Mapping[str, float],
    options: Mapping[str, Any],
    seconds: Mapping[str, float],
    proofs: Sequence[Mapping[str, Any]] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write manifest.json last: it holds the sha256 of every other file. Schema: docs/package.md.

    more    fields that only some packages have: structure, preprocessing, postprocessing, models, passes_of, tiling,
            int8, rows
    """
    ranges = {entry.name: entry.range for entry in inputs}
    stored = {entry.name for entry in model.graph.initializer}
    document = {
        "format": manifest.FORMAT,
        "version": manifest.VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": {step: round(duration, 3) for step, duration in seconds.items()},
        "source": _source_entry(source),
        "options": dict(options),
        "inputs": [_tensor(value, ranges) for value in model.graph.input if value.name not in stored],
        "outputs": [_tensor(value, {}) for value in model.graph.output],
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "passes": [result.as_dict() for result in passes],
        "proofs": list(proofs),
        "tolerances": dict(tolerances),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != manifest.FILE_NAME},
    }
    write_json(folder / manifest.FILE_NAME, {**document, **(more or {})})


def _source_entry(source: Source) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": source.container or KINDS[source.kind], "description": source.description}
    if source.path is not None:
        entry.update(file=source.path.name, sha256=sha256(source.path))
    return entry


def _tensor(value: onnx.ValueInfoProto, ranges: Mapping[str, Any]) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
    entry: dict[str, Any] = {
        "name": value.name,
        "dtype": np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name,
        "shape": shape,
    }
    bounds = ranges.get(value.name)
    if bounds is not None:
        sides = ("min", "opt", "max", "step") if bounds.step else ("min", "opt", "max")
        entry["range"] = {side: list(getattr(bounds, side)) for side in sides}
    return entry


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
