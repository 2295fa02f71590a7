"""Give an ONNX model from torch.onnx its final names, and remove torch's notes from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from onnx import ModelProto

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes.axes import axis_names, identifier


def rename(values: Sequence[Any], names: Sequence[str]) -> None:
    """Give values their names, in order."""
    for value, name in zip(values, names, strict=True):
        value.name = name


def name_dimensions(model: ModelProto, inputs: Sequence[InputPlan]) -> None:
    """Rename the exporter's symbols, such as s77, to batch, height, width in the whole model; names stay distinct."""
    names: dict[str, str] = {}
    wanted = axis_names(inputs)
    for value in model.graph.input:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            name, symbol = wanted.get(value.name, {}).get(axis), dimension.dim_param
            if name and symbol and symbol not in names:
                names[symbol] = name if name not in names.values() else f"{identifier(value.name)}_{name}"
    if not names:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = pattern.sub(lambda match: names[match[0]], dimension.dim_param)


def strip_notes(model: ModelProto) -> None:
    """Remove the exporter's notes, also in branches: stack traces with local paths, a copy of the torch graph."""
    _clear_notes(model)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for holder in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            _clear_notes(holder)
        for attribute in (entry for node in graph.node for entry in node.attribute):
            graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _clear_notes(holder: Any) -> None:
    del holder.metadata_props[:]
    holder.ClearField("doc_string")
