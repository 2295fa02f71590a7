"""Cut one site out of a model as a model of its own, to measure it.

Every input and output of rank 4 passes through a depthwise 1×1 convolution: engines keep convolutions in a layout of
their own, and the excerpt must include the cost of leaving that layout, as the whole net does.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, detach, emit
from rectexport.exporter.passes.lowering.machinery.form import Site


def excerpt(model: ModelProto, graph: gs.Graph, site: Site) -> ModelProto | None:
    """The site's nodes between new inputs and outputs; None where a boundary has no static shape.

    graph is the model's, opened; it is not changed.
    """
    members = {id(node) for node in site.members(graph)}
    names = {node.outputs[0].name for node in graph.nodes if id(node) in members}
    own = open_graph(model)
    own.captured = []  # its outputs are chosen below
    detach(own, *(node for node in own.nodes if not node.outputs or node.outputs[0].name not in names))
    inputs, outputs = _boundary(own, _read_outside(graph, members))
    if not all(_static(tensor) for tensor in (*inputs, *outputs)):
        return None
    own.inputs = [_entered(own, tensor) for tensor in inputs]
    own.outputs = [_left(own, tensor) for tensor in outputs]
    return infer_shapes(close_graph(own, model))


def _read_outside(graph: gs.Graph, members: set[int]) -> set[str]:
    """Names of the tensors that other nodes than the members read, or that are outputs of the graph."""
    read = {tensor.name for node in graph.nodes if id(node) not in members for tensor in node.inputs}
    return read | {tensor.name for tensor in graph.outputs}


def _boundary(graph: gs.Graph, read_outside: set[str]) -> tuple[list[gs.Variable], list[gs.Variable]]:
    """The tensors that enter the nodes of a graph from outside, and those that leave them."""
    variables = [tensor for tensor in graph.tensors().values() if isinstance(tensor, gs.Variable)]
    inputs = [tensor for tensor in variables if not tensor.inputs and tensor.outputs]
    outputs = [tensor for tensor in variables if tensor.inputs and (tensor.name in read_outside or not tensor.outputs)]
    return inputs, outputs


def _static(tensor: gs.Tensor) -> bool:
    known = tensor.shape is not None and all(isinstance(size, int) and size > 0 for size in tensor.shape)
    return known and tensor.dtype is not None


def _identity(graph: gs.Graph, name: str, x: gs.Tensor, y: gs.Tensor) -> None:
    channels = x.shape[1]
    emit(graph, name, Convolution(np.ones((channels, 1, 1, 1), x.dtype), None, groups=channels), x, y)


def _entered(graph: gs.Graph, tensor: gs.Variable) -> gs.Variable:
    if len(tensor.shape) != 4:
        return tensor
    entry = gs.Variable(f"{tensor.name}.entry", tensor.dtype, tensor.shape)
    _identity(graph, f"{tensor.name}.enter", entry, tensor)
    return entry


def _left(graph: gs.Graph, tensor: gs.Variable) -> gs.Variable:
    if len(tensor.shape) != 4:
        return tensor
    exit_ = gs.Variable(f"{tensor.name}.exit", tensor.dtype, tensor.shape)
    _identity(graph, f"{tensor.name}.leave", tensor, exit_)
    return exit_
