"""Run a model in float64, with ONNX's reference: the exact result that rounding is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from rectexport.exporter.graph.dialect import STANDARD_DOMAINS
from rectexport.exporter.graph.names import subgraphs
from rectexport.runtime.base.runner import Array

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
#: Attributes that name a type.
_TYPES = ("to", "dtype")


def run_in_float64(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Any] | None:
    """Outputs by name, computed in float64; None when the reference does not run the model."""
    wide = widened(model)
    inputs = {name: value.astype(np.float64) if _is_float(value) else value for name, value in feeds.items()}
    try:
        results: Any = ReferenceEvaluator(wide).run(None, inputs)
    except Exception:  # the reference lacks an operator, or raises what NumPy raises
        return None
    return dict(zip((value.name for value in model.graph.output), results, strict=True))


def widened(model: ModelProto) -> ModelProto:
    """A copy whose floats are all float64, also in subgraphs and functions."""
    wide = ModelProto()
    wide.CopyFrom(model)
    for graph in _graphs(wide.graph):
        for entry in graph.initializer:
            _widen(entry)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in _FLOATS:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        _widen_nodes(graph.node)
    for body in wide.functions:
        _widen_nodes(body.node)
    return wide


def _widen_nodes(nodes: Any) -> None:
    for node in nodes:
        if node.domain in STANDARD_DOMAINS:
            for attribute in node.attribute:
                _widen_attribute(node, attribute)


def _widen_attribute(node: NodeProto, attribute: AttributeProto) -> None:
    if attribute.name in _TYPES and attribute.type == AttributeProto.INT and attribute.i in _FLOATS:
        attribute.i = TensorProto.DOUBLE
    elif attribute.type == AttributeProto.TENSOR:
        _widen(attribute.t)
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        value = np.asarray(attribute.f if attribute.name == "value_float" else list(attribute.floats), np.float64)
        node.attribute[0].Clear()
        node.attribute[0].name, node.attribute[0].type = "value", AttributeProto.TENSOR
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _is_float(value: Array) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")
