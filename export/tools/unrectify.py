"""Remove one rectification from a graph, in any of the forms that lowering gives it; see plain_twin.

as written   r·y + b, b perhaps masked where a window is empty
residual     r·relu(y + b + R), R a constant plane: R is removed too, b is already in the convolution
tail         conv(r·y; I, b), I the depthwise identity
blocked      the same, r copied into every channel by a convolution
float16      cast(r·cast(y)), since r stays in float32

y stays, and b is added to the bias of the convolution that makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import constant, label, sole_reader
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, detach, read
from rectexport.runtime.errors import BadInput

ARITHMETIC = {"Mul", "Add", "Sub", "Div", "Cast", "CastLike", "Constant", "Identity"}
#: Operators that may compute a factor from sizes.
SIZE_OPERATORS = ARITHMETIC | {
    "Shape", "Gather", "Range", "Max", "Min", "Reshape", "Equal", "Where", "Slice", "Unsqueeze", "Squeeze", "Clip",
    "Concat", "Or", "And", "Not", "Greater", "Less", "ConstantOfShape", "Expand", "Reciprocal", "AveragePool",
    "DequantizeLinear",
}  # fmt: skip


def remove_own(graph: gs.Graph, scale: gs.Node) -> bool:
    """Remove one multiplication by r with the nodes that belong to it; returns whether a convolution added its bias."""
    y, z, end = scale.inputs[0], scale.outputs[0], [scale]
    copies = copies_of_r(scale)
    if not _depends_on_sizes_alone(scale.inputs[1] if copies is None else copies.inputs[0]):
        raise BadInput(f"--plain-twin: the factor of {label(scale)} depends on more than sizes")
    if _made_by(y, "Cast") and (after := sole_reader(graph, z)) is not None and after.op == "Cast":
        end += [y.inputs[0], after]
        y, z = y.inputs[0].inputs[0], after.outputs[0]
    bias, last = _bias_after(sole_reader(graph, z), z)
    if last is not None:
        end.append(last)
        z = last.outputs[0]
    detach(graph, *end)
    _drop_residual(graph, y)
    _join(graph, y, z, bias)
    return last is not None and last.op == "Conv"


def remove_rectify(graph: gs.Graph, node: gs.Node) -> None:
    """Remove one Rectify node of the dialect."""
    y, z, bias = node.inputs[0], node.outputs[0], constant(node.inputs[2])
    assert bias is not None  # raising made it a constant
    detach(graph, node)
    _join(graph, y, z, bias)


def _bias_after(node: gs.Node | None, z: gs.Tensor) -> tuple[NDArray[Any] | None, gs.Node | None]:
    """The bias [C] added after r·y, and the node that adds it; (None, None) without one."""
    if node is not None and node.op == "Add":
        other = node.inputs[1] if node.inputs[0] is z else node.inputs[0]
        if _made_by(other, "Mul"):  # masked where windows are empty
            other = other.inputs[0].inputs[0]
        value = constant(other)
        if value is not None and value.ndim == _rank(z) and set(value.shape[2:]) == {1}:
            return value.reshape(-1), node
    conv = read(node)
    if isinstance(conv, Convolution) and conv.bias is not None and _is_identity(conv):
        return conv.bias, node
    return None, None


def _is_identity(conv: Convolution) -> bool:
    return conv.pointwise and conv.groups == len(conv.weight) and bool(np.all(conv.weight == 1))


def _drop_residual(graph: gs.Graph, y: gs.Tensor) -> None:
    """Remove the constant plane that the form `residual` adds before r, and before ReLU if there is one."""
    node = y.inputs[0]
    add = node.inputs[0].inputs[0] if node.op == "Relu" and node.inputs[0].inputs else node
    plane = constant(add.inputs[1]) if add.op == "Add" else None
    if plane is not None and plane.ndim == _rank(y) and set(plane.shape[2:]) != {1}:
        x, out = add.inputs[0], add.outputs[0]
        detach(graph, add)
        _join(graph, x, out, None)


def _join(graph: gs.Graph, y: gs.Tensor, z: gs.Tensor, bias: NDArray[Any] | None) -> None:
    """Replace z by y, with a bias [C] added in the convolution that makes y."""
    conv = _convolution(graph, y)
    if bias is not None and bias.any():
        if conv is None:
            shift = gs.Constant(f"{z.name}.plain_shift", bias.reshape(1, -1, *[1] * (_rank(y) - 2)))
            graph.nodes.append(gs.Node("Add", f"plain_shift.{z.name}", {}, [y, shift], [z]))
            return
        own = constant(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros(1, bias.dtype)
        assert own is not None
        conv.inputs = [*list(conv.inputs)[:2], gs.Constant(f"{z.name}.plain_bias", (bias + own).astype(bias.dtype))]
    for reader in list(y.outputs):  # Shape nodes, which read only the size
        reader.inputs = [z if tensor is y else tensor for tensor in reader.inputs]
    y.inputs[0].outputs = [z]


def _convolution(graph: gs.Graph, y: gs.Tensor) -> gs.Node | None:
    """A convolution whose bias is added to y: the one that makes y, or one whose output is a term of y."""
    node = y.inputs[0]
    if node.op == "Conv":
        return node if len(node.inputs) < 3 or constant(node.inputs[2]) is not None else None
    if node.op != "Add":
        return None
    terms = (tensor for tensor in node.inputs if tensor.inputs and sole_reader(graph, tensor) is node)
    return next((conv for term in terms if (conv := _convolution(graph, term)) is not None), None)


def copies_of_r(scale: gs.Node) -> gs.Node | None:
    """The convolution that copies r into every channel for a multiplication by it, in the form `blocked`."""
    maker = scale.inputs[1].inputs[0] if scale.inputs[1].inputs else None
    conv = read(maker)
    ones = isinstance(conv, Convolution) and conv.pointwise and conv.channels == 1 and bool(np.all(conv.weight == 1))
    return maker if ones else None


def _depends_on_sizes_alone(tensor: gs.Tensor) -> bool:
    pending, seen = [tensor], set()
    while pending:
        current = pending.pop()
        if id(current) in seen or isinstance(current, gs.Constant):
            continue
        seen.add(id(current))
        if not current.inputs or current.inputs[0].op not in SIZE_OPERATORS:
            return False
        if current.inputs[0].op != "Shape":
            pending.extend(entry for entry in current.inputs[0].inputs if entry.name)
    return True


def _rank(tensor: gs.Tensor) -> int:
    """The rank of a tensor; that of images where it is unknown."""
    return 4 if tensor.shape is None else len(tensor.shape)


def _made_by(tensor: gs.Tensor, op: str) -> bool:
    return bool(tensor.inputs) and tensor.inputs[0].op == op
