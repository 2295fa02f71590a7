"""Compare inner tensors on an engine other than ONNX Runtime: one more run, with the tensors marked as outputs.

A marked tensor changes what the engine fuses, so this shows what its operators compute, and not each rounding of the
package's own run. It decides nothing: the outputs of the package's own run do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from rectexport.exporter.checking.marking import MarkedTensor, comparable
from rectexport.exporter.graph.inner import with_outputs
from rectexport.exporter.graph.light import stored_bytes
from rectexport.runtime.base.runner import Array, Runner
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.parity.reports import LayerReport, compare_layer, first_divergence

#: A larger model is not loaded a second time.
MOST_MODEL_BYTES = 64 << 20
#: Most tensors that are marked, and the most bytes that they may have in float32; of more, every second or third is.
MOST_TENSORS, MOST_BYTES = 64, 64 << 20
#: Opens a model file on the engine; the second argument names its outputs, in order.
Open = Callable[[Path, Sequence[str]], Runner]
Layer = Callable[[str], str]


def compare_inner(
    model: ModelProto,
    opened: Open,
    feeds: Mapping[str, Array],
    expected: Mapping[str, Array],
    layer: Layer,
    tolerance: Tolerance,
) -> str:
    """One sentence on how far the inner tensors `expected`, by name, are off on an engine; empty where none compare.

    layer gives the module that makes a tensor. Tensors may be off by what the tolerance allows layers.
    """
    size = stored_bytes(model)
    if size > MOST_MODEL_BYTES:
        return f"inner tensors were not compared: the model has {size >> 20} MiB, more than {MOST_MODEL_BYTES >> 20}"
    chosen = _spread(comparable(model, feeds, expected.keys()))
    if not chosen:
        return ""
    try:
        actual = _run(model, opened, feeds, chosen)
    except (RectexportError, ValueError) as error:
        return f"inner tensors were not compared: {error}"
    layers = [
        compare_layer(name, layer(name), expected[name], actual[name])
        for name in chosen
        if actual[name].shape == expected[name].shape and actual[name].dtype.kind == "f"
    ]
    return _sentence(layers, tolerance)


def _spread(tensors: Sequence[MarkedTensor]) -> list[str]:
    """Names of tensors from the first to the last, as many as the bounds allow."""
    for step in range(1, len(tensors) + 1):
        chosen = tensors[::step]
        if len(chosen) <= MOST_TENSORS and 4 * sum(entry.elements for entry in chosen) <= MOST_BYTES:
            return [entry.name for entry in chosen]
    return []


def _run(model: ModelProto, opened: Open, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    with scratch_folder() as folder:
        path = folder / "marked.onnx"
        onnx.save_model(with_outputs(model, names), str(path))
        runner = opened(path, [*(value.name for value in model.graph.output), *names])
        try:
            return runner.run(feeds)
        finally:
            runner.close()


def _sentence(layers: Sequence[LayerReport], tolerance: Tolerance) -> str:
    if not layers:
        return ""
    first = first_divergence(layers, tolerance)
    if first is None:
        far = max(layers, key=lambda entry: entry.worst[1])
        return f"{len(layers)} inner tensors agree, farthest off {far.worst[1]:.1e} ({far.layer})"
    region, distance = first.worst
    where = f" in region {region}" if region != "all" else ""
    return (
        f"of {len(layers)} inner tensors the first that differs is {first.tensor} ({first.layer}): "
        f"relative L2 {distance:.1e}{where}, allowed {tolerance.of_layer(first.tensor):.0e}"
    )
