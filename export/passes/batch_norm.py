"""BatchNorm into the convolution before it, across rectification.

Inference BatchNorm is z = a*y + t, with a = scale / sqrt(var + eps) and t = bias - mean*a, one pair a channel.

Given   y = conv(x; W, c) ; z = BN(y)                      Result  z = conv(x; a*W, a*c + t)
Given   y = conv(x; W, c) ; q = Rectify(y, x, b) ; z = BN(q)
Result  y = conv(x; a*W, a*c) ; z = Rectify(y, x, a*b + t)
Given   y = conv(x; W, c) ; q = MaskedRectify(y, u, b) ; z = BN(q)
Result  y = conv(x; a*W, a*c) ; z = MaskedRectify(y, u, a*b + t)

r scales pixels and a scales channels, so a crosses r and folds into W. The shift does not: r*(y + t) differs
from r*y + t wherever r is not 1, so t joins the bias that is added after r.

Not when
- another node reads the convolution's or the rectified tensor, or either is an output of the graph;
- weights or statistics are not constants, or BatchNorm is in training mode;
- BatchNorm has statistics for each pixel (spatial 0, up to opset 8);
- Rectify leaves a bias out at empty pixels (empty_bias 0, b not zero): BatchNorm's shift is added there too.
A BatchNorm *before* a zero-padded convolution is never folded forward here: its shift does not reach the padding, so
it is no bias per channel but a map that depends on the border (see lowering/norm.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import (
    close_graph,
    constant,
    convolution_before,
    is_standard,
    label,
    made_by,
    open_graph,
    producer,
    sole_consumer,
)

NAME = "batch_norm"
Values = NDArray[Any]


class _Conv(NamedTuple):
    """What stands before a BatchNorm. weight and bias [C] are the convolution's; shift [C] is the Rectify's bias."""

    node: gs.Node
    rectify: gs.Node | None
    weight: Values
    bias: Values
    shift: Values | None


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Fold every BatchNormalization whose input is a convolution, rectified or not."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(graph.nodes):
        if is_standard(node, "BatchNormalization"):
            name, refusal = label(node), _fold(graph, node)
            if refusal:
                record.refuse(name, *refusal)
            else:
                record.fire(name)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _fold(graph: gs.Graph, norm: gs.Node) -> tuple[str, Code] | None:
    """Fold one BatchNorm; the reason and its code when it must stay."""
    scale_shift = affine(norm)
    if scale_shift is None:
        return "its statistics are not constants, or it runs in training mode", Code.NOT_CONSTANT
    before = _before(norm.inputs[0])
    if before is None:
        return "no convolution stands right before it", Code.MISMATCH
    for tensor in {id(t): t for t in (norm.inputs[0], before[0].outputs[0])}.values():
        if sole_consumer(graph, tensor) is None:
            return f"{tensor.name} is also used elsewhere", Code.USED_ELSEWHERE
    conv = _read(*before)
    if conv is None:
        return "the convolution's weights are not constants", Code.NOT_CONSTANT
    if conv.rectify is not None and not conv.rectify.attrs["empty_bias"] and np.any(conv.shift):
        return "the rectification leaves its bias out at empty pixels, where BatchNorm adds its shift", Code.MISMATCH
    _rewrite(norm, conv, *scale_shift)
    return None


def _before(tensor: gs.Tensor) -> tuple[gs.Node, gs.Node | None] | None:
    """`convolution_before`, also across MaskedRectify."""
    node = made_by(tensor)
    if node is None or (node.op, node.domain) != ("MaskedRectify", DOMAIN):
        return convolution_before(tensor)
    conv = producer(node.inputs[0], "Conv")
    return None if conv is None else (conv, node)


def _read(node: gs.Node, rectify: gs.Node | None) -> _Conv | None:
    """The convolution's constants, or None when one is none."""
    weight, bias = constant(node.inputs[1]), _bias(node)
    shift = None if rectify is None else constant(rectify.inputs[2])
    if weight is None or bias is None or (rectify is not None and shift is None):
        return None
    return _Conv(node, rectify, weight, bias, shift)


def _rewrite(norm: gs.Node, conv: _Conv, a: Values, t: Values) -> None:
    node, dtype = conv.node, conv.weight.dtype
    _set(node, 1, conv.weight * a.reshape(-1, *[1] * (conv.weight.ndim - 1)), dtype, "weight")
    if conv.rectify is None or conv.shift is None:
        _set(node, 2, conv.bias * a + t, dtype, "bias")
    else:
        if conv.bias.any():
            _set(node, 2, conv.bias * a, dtype, "bias")
        _set(conv.rectify, 2, conv.shift * a + t, dtype, "bias")
        conv.rectify.attrs["empty_bias"] = 1
        y = node.outputs[0]
        y.name = f"{y.name}.folded"  # the old name stands for the old value
    last = conv.rectify or node
    last.outputs = list(norm.outputs[:1])
    norm.outputs.clear()


def affine(norm: gs.Node) -> tuple[Values, Values] | None:
    """a and t [C] of z = a*y + t in float64, or None when statistics vary or the node is in training mode."""
    values = [constant(tensor) for tensor in norm.inputs[1:5]]
    if any(value is None or value.ndim != 1 for value in values) or norm.attrs.get("training_mode", 0):
        return None
    scale, bias, mean, var = (np.asarray(value, np.float64) for value in values)
    a = scale / np.sqrt(var + norm.attrs.get("epsilon", 1e-5))
    return a, bias - mean * a


def _bias(conv: gs.Node) -> Values | None:
    if len(conv.inputs) > 2 and conv.inputs[2].name:
        return constant(conv.inputs[2])
    weight = constant(conv.inputs[1])
    return None if weight is None else np.zeros(weight.shape[0])


def _set(node: gs.Node, index: int, values: Values, dtype: Any, what: str) -> None:
    """Give the node a constant of its own: initializers may be shared."""
    tensor = gs.Constant(f"{node.outputs[0].name}.{what}.folded", values.astype(dtype))
    if index < len(node.inputs):
        node.inputs[index] = tensor
    else:
        node.inputs.append(tensor)
