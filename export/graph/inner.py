"""Inner tensors of an ONNX model, which ONNX Runtime gives once they are outputs; nothing of torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, final

import onnx
from onnx import ModelProto, ValueInfoProto

from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package import Package
from rectexport.runtime.runner import Array
from rectexport.runtime.stored_reference import StoredReference


def run_inner(
    model: ModelProto, feeds: Mapping[str, Array], names: Collection[str], optimize: bool = True
) -> dict[str, Array]:
    """Run a model in ONNX Runtime with inner tensors added to its outputs, and return those."""
    existing = {value.name for value in model.graph.output}
    extended = with_outputs(model, [name for name in names if name not in existing])
    runner = OnnxRuntimeRunner(extended.SerializeToString(), optimize=optimize)
    results = runner.run(feeds)
    runner.close()
    return {name: results[name] for name in names}


def with_outputs(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy of the model that also gives these inner tensors."""
    extended = ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return extended


@final
class StoredTensors:
    """Inner tensors of an ONNX file, run as it stands."""

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
    """Module of each inner tensor, as the export wrote it into parity.json; nothing where that cannot be read."""
    try:
        document: Any = json.loads((package.path / "parity.json").read_text(encoding="utf-8"))
        return {entry["tensor"]: entry["layer"] for case in document["cases"] for entry in case["layers"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
