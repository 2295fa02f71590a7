"""Opening a model with onnx-graphsurgeon, closing it again, and the questions that all passes ask about a graph.

A subgraph (the branches of If, the bodies of Loop and Scan) may read tensors of the main graph. While a graph is open,
those tensors stand among its outputs, so that every pass keeps their names and values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto
from onnx_graphsurgeon.logger import G_LOGGER

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.carried import Carried
from rectexport.runtime.errors import BadInput

# It prints to stdout, where --json has its document, and raises errors in any case.
G_LOGGER.severity = G_LOGGER.CRITICAL + 1

#: A larger ConstantOfShape is not evaluated: a few bytes in the file may ask for more than the memory holds.
MAX_ELEMENTS = 1 << 24
#: From this version of the format on an initializer needs no input of the same name, and graphsurgeon writes none.
LEAST_IR_VERSION = 4
#: The passes make arrays of a plane's size; a larger side counts as unknown.
MAX_SIDE = 1 << 16


def open_graph(model: ModelProto) -> gs.Graph:
    """The model's main graph, ready for surgery. Raises BadInput for one that graphsurgeon cannot read."""
    carried = Carried(model)
    try:
        graph = gs.import_onnx(carried.view())
    except Exception as error:  # it raises what numpy and protobuf raise, besides its own
        raise BadInput(f"the graph cannot be taken apart: {type(error).__name__}: {str(error)[:200]}") from error
    carried.remember(graph)
    graph.carried = carried
    graph.captured = carried.captured(graph)
    graph.outputs.extend(graph.captured)
    return graph


def close_graph(graph: gs.Graph, model: ModelProto) -> ModelProto:
    """The graph as a model again, with everything of `model` that surgery does not touch; unused nodes are gone.

    New tensors get other names where theirs are taken.
    """
    captured = {id(tensor) for tensor in graph.captured}
    graph.outputs = [tensor for tensor in graph.outputs if id(tensor) not in captured]
    graph.carried.rename_new(graph)  # first: graphsurgeon tells tensors apart by their names
    graph.cleanup(remove_unused_graph_inputs=False)
    graph.toposort(mode="nodes")
    result: ModelProto = graph.carried.export(graph)
    result.ir_version = max(model.ir_version, LEAST_IR_VERSION)
    dialect.attach_functions(result)
    return result


def dialect_nodes(graph: gs.Graph, *operators: str) -> Iterator[gs.Node]:
    """The graph's nodes of some of our operators; the graph may change while iterating."""
    for node in list(graph.nodes):
        if node.op in operators and node.domain == dialect.DOMAIN:
            yield node


def constant(tensor: gs.Tensor) -> NDArray[Any] | None:
    """The tensor's value when it is known, else None."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values) if is_numeric(tensor) else None
    node = producer(tensor)
    if node is None:
        return None
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


def is_numeric(tensor: gs.Constant) -> bool:
    """Whether graphsurgeon can read the values and store them again: numbers of NumPy's own types, and bfloat16."""
    if isinstance(tensor.dtype, int):
        return bool(tensor.dtype == onnx.TensorProto.BFLOAT16)
    return np.dtype(tensor.dtype).kind in "biufc" or np.dtype(tensor.dtype) == ml_dtypes.bfloat16


def tensor_bytes(tensor: gs.Constant) -> int:
    """Bytes of a stored tensor by its shape and type: its values are not read, which copies them."""
    item = 2 if isinstance(tensor.dtype, int) else np.dtype(tensor.dtype).itemsize
    return math.prod(tensor.shape) * item


def _constant_node(node: gs.Node) -> NDArray[Any] | None:
    for name, value in node.attrs.items():
        if name == "value":
            return constant(value) if isinstance(value, gs.Constant) else _values(value)
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(value, np.float32 if "float" in name else np.int64)
    return None


def _values(value: Any) -> NDArray[Any]:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value.values if isinstance(value, gs.Constant) else value)


def is_standard(node: gs.Node | None, *operators: str) -> bool:
    """Whether the node is a standard operator, and one of `operators` where any are given."""
    return node is not None and node.domain in dialect.STANDARD_DOMAINS and (not operators or node.op in operators)


def is_rectify(node: gs.Node | None) -> bool:
    """Whether the node is one of the dialect's Rectify, Rectify1d and Rectify3d."""
    return node is not None and node.domain == dialect.DOMAIN and node.op in dialect.RECTIFIES.values()


def is_output(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether the tensor is an output of the graph, or a subgraph reads it: its name and value must stay."""
    return any(tensor is output for output in graph.outputs)


def made_by(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes the tensor."""
    return tensor.inputs[0] if tensor.inputs else None


def producer(tensor: gs.Tensor, *operators: str) -> gs.Node | None:
    """The standard node that makes the tensor, if it is one of `operators` or none are given."""
    node = made_by(tensor)
    return node if is_standard(node, *operators) else None


def convolution_before(tensor: gs.Tensor) -> tuple[gs.Node, gs.Node | None] | None:
    """The Conv that makes the tensor, and the Rectify between the two if there is one; None without a Conv."""
    node = made_by(tensor)
    rectify = node if is_rectify(node) else None
    conv = producer(tensor if rectify is None else rectify.inputs[0], "Conv")
    return None if conv is None else (conv, rectify)


def replace_reads(old: gs.Tensor, new: gs.Tensor) -> None:
    """Let every node that reads `old` read `new`."""
    for consumer in list(old.outputs):
        for index, tensor in enumerate(consumer.inputs):
            if tensor is old:
                consumer.inputs[index] = new


def sole_consumer(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The one node that reads `tensor`, or None if others do, a subgraph does, or the model outputs it."""
    return tensor.outputs[0] if len(tensor.outputs) == 1 and not is_output(graph, tensor) else None


def reads_values(node: gs.Node, tensor: gs.Tensor) -> bool:
    """Whether a node reads more of the tensor than its shape or its type."""
    like = is_standard(node, "CastLike") and node.inputs[0] is not tensor
    return not like and not is_standard(node, "Shape")


def sole_reader(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The same, where nodes that read the tensor's shape or type alone do not count."""
    readers = [node for node in tensor.outputs if reads_values(node, tensor)]
    return readers[0] if len(readers) == 1 and not is_output(graph, tensor) else None


def static_size(tensor: gs.Tensor) -> tuple[int, int] | None:
    """(H, W) of a rank-4 tensor when both are known and at most MAX_SIDE."""
    sizes = static_sizes(tensor, 2)
    return None if sizes is None else (sizes[0], sizes[1])


def static_sizes(tensor: gs.Tensor, count: int) -> tuple[int, ...] | None:
    """The sizes of the `count` axes behind N and C, which must be the last, when all are known and at most MAX_SIDE."""
    sizes = tensor.shape[2:] if tensor.shape is not None and len(tensor.shape) == 2 + count else [None]
    if not all(isinstance(size, int) and 0 < size <= MAX_SIDE for size in sizes):
        return None
    return tuple(int(size or 0) for size in sizes)


def label(node: gs.Node) -> str:
    """The node's name, or its operator and output where it has none."""
    return node.name or f"{node.op}→{node.outputs[0].name}"
