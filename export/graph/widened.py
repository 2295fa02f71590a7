"""Models in other float types, and the exact result that rounding is measured against: by onnx.reference in float64."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rectexport.exporter.graph.dialect import STANDARD_DOMAINS
from rectexport.exporter.graph.names import subgraphs
from rectexport.runtime.base.runner import Array

_Kinds = Collection[int]
_BELOW_DOUBLE = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
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
    return retyped(model, _BELOW_DOUBLE, TensorProto.DOUBLE)


def retyped(model: ModelProto, given: _Kinds, wanted: int) -> ModelProto:
    """A copy with another float type in place of those given (numbers of TensorProto), also in subgraphs and functions.

    wanted is TensorProto.FLOAT or TensorProto.DOUBLE.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph in _graphs(copy.graph):
        for entry in graph.initializer:
            _retype(entry, given, wanted)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in given:
                value.type.tensor_type.elem_type = wanted
        _retype_nodes(graph.node, given, wanted)
    for body in copy.functions:
        _retype_nodes(body.node, given, wanted)
    return copy


def _retype_nodes(nodes: Any, given: _Kinds, wanted: int) -> None:
    for node in nodes:
        if node.domain in STANDARD_DOMAINS:
            for attribute in node.attribute:
                _retype_attribute(node, attribute, given, wanted)


def _retype_attribute(node: NodeProto, attribute: AttributeProto, given: _Kinds, wanted: int) -> None:
    if attribute.name in _TYPES and attribute.type == AttributeProto.INT and attribute.i in given:
        attribute.i = wanted
    elif attribute.type == AttributeProto.TENSOR:
        _retype(attribute.t, given, wanted)
    elif (
        TensorProto.FLOAT in given and node.op_type == "Constant" and attribute.name in ("value_float", "value_floats")
    ):
        value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        node.attribute[0].Clear()
        node.attribute[0].name, node.attribute[0].type = "value", AttributeProto.TENSOR
        node.attribute[0].t.CopyFrom(
            numpy_helper.from_array(np.asarray(value, helper.tensor_dtype_to_np_dtype(wanted)))
        )


def _retype(tensor: TensorProto, given: _Kinds, wanted: int) -> None:
    if tensor.data_type in given:
        value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(wanted))
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _is_float(value: Array) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")
