"""Run an ONNX model with inner tensors as outputs, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import ModelProto, ValueInfoProto

from rectexport.exporter.graph.light import with_external
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner


def run_inner(
    model: ModelProto, feeds: Mapping[str, Array], names: Collection[str], optimize: bool = True
) -> dict[str, Array]:
    """Run a model in ONNX Runtime with inner tensors added to its outputs, and return those."""
    existing = {value.name for value in model.graph.output}
    light = with_external(model)
    extended = with_outputs(light.model, [name for name in names if name not in existing])
    runner = OnnxRuntimeRunner(extended.SerializeToString(), optimize=optimize, weights=light.weights)
    results = runner.run(feeds)
    runner.close()
    return {name: results[name] for name in names}


def with_outputs(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy of the model that also gives these inner tensors."""
    extended = ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return extended
