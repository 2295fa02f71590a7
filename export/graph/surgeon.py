"""onnx-graphsurgeon, with what our passes ask of it again and again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto
from onnx_graphsurgeon.logger import G_LOGGER

from rectexport.exporter.graph import dialect
from rectexport.runtime.errors import BadInput

# It prints what it has to say to stdout, where --json has its document, and raises what matters.
G_LOGGER.severity = G_LOGGER.CRITICAL + 1

#: A ConstantOfShape beyond this stays one: a few bytes in the file may ask for more than the memory holds.
MAX_ELEMENTS = 1 << 24
#: From this version of the format on, a stored value needs no input of its name, and graphsurgeon writes none.
LEAST_IR_VERSION = 4
#: The passes make arrays of a plane's size; a larger side is taken for unknown.
MAX_SIDE = 1 << 16


def open_graph(model: ModelProto) -> gs.Graph:
    """The model's main graph, ready for surgery. Raises BadInput for one that graphsurgeon does not know."""
    try:
        return gs.import_onnx(model)
    except Exception as error:  # it raises what numpy and protobuf raise, besides its own
        raise BadInput(f"the graph cannot be taken apart: {type(error).__name__}: {str(error)[:200]}") from error


def close_graph(graph: gs.Graph, model: ModelProto) -> ModelProto:
    """The graph as a model again, with the header of `model`; unused nodes and functions are gone."""
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    result = gs.export_onnx(graph, do_type_check=False)
    result.ir_version = max(model.ir_version, LEAST_IR_VERSION)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.metadata_props.extend(model.metadata_props)
    dialect.attach_functions(result)
    return result


def dialect_nodes(graph: gs.Graph, operator: str) -> Iterator[gs.Node]:
    """The graph's nodes of one of our operators; the graph may change while iterating."""
    for node in list(graph.nodes):
        if node.op == operator and node.domain == dialect.DOMAIN:
            yield node


def constant(tensor: gs.Tensor) -> NDArray[Any] | None:
    """The tensor's value when it is known, else None."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    if len(tensor.inputs) != 1 or tensor.inputs[0].domain not in (None, "", "ai.onnx"):
        return None
    node = tensor.inputs[0]
    if node.op == "Identity":
        return constant(node.inputs[0])
    if node.op == "Constant":
        return _constant_node(node)
    if node.op == "ConstantOfShape":
        shape, fill = constant(node.inputs[0]), node.attrs.get("value")
        value = np.float32(0) if fill is None else _values(fill).reshape(-1)[0]
        small = shape is not None and 0 <= math.prod(map(int, shape.flat)) <= MAX_ELEMENTS
        return np.full(tuple(shape), value) if shape is not None and small else None
    return None


def _constant_node(node: gs.Node) -> NDArray[Any] | None:
    for name, value in node.attrs.items():
        if name == "value":
            return _values(value)
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(value, np.float32 if "float" in name else np.int64)
    return None


def _values(value: Any) -> NDArray[Any]:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value.values if isinstance(value, gs.Constant) else value)


def sole_consumer(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The one node that reads `tensor`, or None if others do or the graph gives it out."""
    if len(tensor.outputs) != 1 or any(tensor is output for output in graph.outputs):
        return None
    return tensor.outputs[0]


def static_size(tensor: gs.Tensor) -> tuple[int, int] | None:
    """(H, W) of a rank-4 tensor when both are known, and sizes of an image."""
    shape = tensor.shape
    if (
        shape is None
        or len(shape) != 4
        or not all(isinstance(size, int) and 0 < size <= MAX_SIDE for size in shape[2:])
    ):
        return None
    return int(shape[2]), int(shape[3])


def label(node: gs.Node) -> str:
    """A name that tells a person which node this is."""
    return node.name or f"{node.op}→{node.outputs[0].name}"
