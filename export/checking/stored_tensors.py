"""Compute inner tensors of the ONNX file that a package is compared with; does not import torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, final

import onnx
from onnx import ModelProto

from rectexport.exporter.graph.inner import run_inner
from rectexport.runtime.base.runner import Array
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.stored_reference import StoredReference


@final
class StoredTensors:
    """Inner tensors of an ONNX file, run without graph optimizations."""

    traced: ModelProto | None = None

    def __init__(self, reference: StoredReference, package: Package) -> None:
        self._reference = reference
        self._model = onnx.load(reference.model)
        self._layers = _recorded_layers(package)

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        return run_inner(self._model, self._reference.feeds(feeds), names, optimize=False)

    def inner_names(self) -> set[str]:
        return {name for node in self._model.graph.node for name in node.output}

    def layer(self, name: str) -> str:
        return self._layers.get(name, name)


def _recorded_layers(package: Package) -> dict[str, str]:
    """Module of each inner tensor, as the export wrote it into parity.json; empty if that cannot be read."""
    try:
        document: Any = json.loads((package.path / "parity.json").read_text(encoding="utf-8"))
        return {entry["tensor"]: entry["layer"] for case in document["cases"] for entry in case["layers"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
