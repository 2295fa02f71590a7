"""The model card: facts from the package's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.package.folder import MODEL, Package
from rectexport.runtime.package.manifest import Manifest, TensorEntry
from rectexport.runtime.report.documents import Rewrites
from rectexport.runtime.report.sections.code import program
from rectexport.runtime.report.text import bound, file_size, sizes

REPRODUCE = "reproduce.sh"
#: Most bytes of a script that the page shows; an export writes far shorter ones.
MAX_SCRIPT = 1 << 16


@dataclass(frozen=True)
class TensorRow:
    """An input or output; bounds are the (min, opt, max) shapes as text, empty if the shape is static."""

    direction: str
    name: str
    dtype: str
    shape: str
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class FileRow:
    """A file of the package."""

    name: str
    size: str
    sha256: str


@dataclass(frozen=True)
class EngineRow:
    """A TensorRT plan of the package: its GPU, version and precision, and the trtexec command that builds the same."""

    file: str
    gpu: str
    tensorrt: str
    precision: str
    trtexec: str


@dataclass(frozen=True)
class Card:
    """The card's facts as (term, description), its tables' rows, and its code."""

    facts: list[tuple[str, str]]
    tensors: list[TensorRow]
    files: list[FileRow]
    engines: list[EngineRow]
    load: str
    reproduce: str
    size: str


def card(package: Package, name: str, rewrites: Rewrites | None) -> Card:
    """The card of a package that the page calls `name`."""
    manifest = package.manifest
    weights = sum((package.path / file).stat().st_size for file in manifest.files if file.startswith(MODEL))
    return Card(
        facts=_facts(manifest.data, manifest.tolerances, rewrites, file_size(weights)),
        tensors=tensor_rows(manifest),
        files=[
            FileRow(file, file_size((package.path / file).stat().st_size), digest)
            for file, digest in manifest.files.items()
        ],
        engines=_engines(manifest.data.get("plans")),
        load=program(name, manifest.inputs),
        reproduce=_reproduce(package.path / REPRODUCE),
        size=file_size(weights),
    )


def tensor_rows(manifest: Manifest) -> list[TensorRow]:
    """A row for each input and output."""
    return [_tensor("input", entry) for entry in manifest.inputs] + [_tensor("output", e) for e in manifest.outputs]


def _facts(
    data: Mapping[str, Any], tolerances: Mapping[str, float], rewrites: Rewrites | None, size: str
) -> list[tuple[str, str]]:
    source, options = _table(data, "source"), _table(data, "options")
    opsets = ", ".join(f"{domain} {version}" for domain, version in _table(data, "opset").items())
    given = {
        "Model": source.get("description"),
        "Read from": " · ".join(str(source[key]) for key in ("file", "kind") if source.get(key)),
        "Source sha256": source.get("sha256"),
        "Parameters": f"{rewrites.parameters:,}" if rewrites and rewrites.parameters is not None else None,
        "Size": size,
        "Target": options.get("target"),
        "Precision": {"fp32": "float32", "fp16": "float16 in the graph, float32 in and out"}.get(
            str(options.get("precision")), options.get("precision")
        ),
        "Opset": opsets,
        "Rectification": options.get("rectify"),
        "Tolerances": _bounds(Tolerance.from_dict(tolerances)),
        "Guard": "on: outputs compared around every pass" if options.get("guard") else "off",
        "Made": data.get("created"),
    }
    return [(term, str(value)) for term, value in given.items() if value]


def _bounds(tolerance: Tolerance) -> str:
    """The bounds on outputs, and the widest of those on inner layers in int8."""
    parts = [f"{name} {bound(value)}" for name, value in replace(tolerance, layers={}).as_dict().items()]
    if tolerance.layers:
        parts.append(f"{len(tolerance.layers)} inner layers up to {bound(max(tolerance.layers.values()))}")
    return ", ".join(parts)


def _engines(plans: object) -> list[EngineRow]:
    """A row for each plan in the manifest; missing fields are empty, because the manifest is untrusted."""
    names = [field.name for field in fields(EngineRow)]
    entries = [entry for entry in plans if isinstance(entry, dict)] if isinstance(plans, list) else []
    return [EngineRow(**{name: str(entry.get(name, "")) for name in names}) for entry in entries]


def _table(data: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = data.get(field)
    return value if isinstance(value, dict) else {}


def _tensor(direction: str, entry: TensorEntry) -> TensorRow:
    span = entry.range
    sides = (sizes(span.min), sizes(span.opt), sizes(span.max)) if span and span.dynamic_axes else ()
    return TensorRow(direction, entry.name, entry.dtype, sizes(entry.shape), sides)


def _reproduce(script: Path) -> str:
    """The command in the script; empty if the package has no script."""
    if not script.is_file() or script.stat().st_size > MAX_SCRIPT:
        return ""
    lines = script.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line.removeprefix("exec ") for line in lines if line and not line.startswith("#"))
