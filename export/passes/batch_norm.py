"""BatchNorm into the convolution before it, across rectification.

Inference BatchNorm is z = a*y + t, with a = scale / sqrt(var + eps) and t = bias - mean*a, one pair a channel.

Given   y = conv(x; W, c) ; z = BN(y)                      Result  z = conv(x; a*W, a*c + t)
Given   y = conv(x; W, c) ; q = Rectify(y, x, b) ; z = BN(q)
Result  y = conv(x; a*W, a*c) ; z = Rectify(y, x, a*b + t)

r scales pixels and a scales channels, so a crosses r and folds into W. The shift does not: r*(y + t) differs
from r*y + t wherever r is not 1, so t joins the bias that is added after r.

Must not fire
- when anything else reads the convolution's or the rectified tensor, or the graph gives it out;
- when weights or statistics are not constants, or BatchNorm runs in training mode;
- when Rectify leaves its bias out at empty pixels (empty_bias 0): BatchNorm's shift is added there too.
A BatchNorm *before* a zero-padded convolution is never folded forward: its shift does not reach the padding,
so it is no per-channel bias but a border-dependent map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, constant, label, open_graph, sole_consumer

NAME = "batch_norm"
Values = NDArray[Any]


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Fold every BatchNormalization whose input is a convolution, rectified or not."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in list(graph.nodes):
        if node.op == "BatchNormalization":
            name, reason = label(node), _fold(graph, node)
            if reason:
                record.refuse(name, reason)
            else:
                record.fire(name)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _fold(graph: gs.Graph, norm: gs.Node) -> str | None:
    """Fold one BatchNorm; the reason when it must stay."""
    scale_shift = affine(norm)
    if scale_shift is None:
        return "its statistics are not constants, or it runs in training mode"
    before = norm.inputs[0].inputs[0] if norm.inputs[0].inputs else None
    rectify = before if before is not None and (before.op, before.domain) == ("Rectify", DOMAIN) else None
    conv = rectify.inputs[0].inputs[0] if rectify is not None and rectify.inputs[0].inputs else before
    if conv is None or conv.op != "Conv":
        return "no convolution stands right before it"
    for tensor in {id(t): t for t in (norm.inputs[0], conv.outputs[0])}.values():
        if sole_consumer(graph, tensor) is None:
            return f"{tensor.name} is also used elsewhere"
    weight, bias = constant(conv.inputs[1]), _bias(conv)
    shift = None if rectify is None else constant(rectify.inputs[2])
    if weight is None or bias is None or (rectify is not None and shift is None):
        return "the convolution's weights are not constants"
    if rectify is not None and not rectify.attrs["empty_bias"]:
        return "the rectification leaves its bias out at empty pixels, where BatchNorm adds its shift"
    a, t = scale_shift
    _set(conv, 1, weight * a.reshape(-1, *[1] * (weight.ndim - 1)), weight.dtype, "weight")
    if rectify is None:
        _set(conv, 2, bias * a + t, weight.dtype, "bias")
    else:
        if bias.any():
            _set(conv, 2, bias * a, weight.dtype, "bias")
        _set(rectify, 2, shift * a + t, weight.dtype, "bias")
        y = conv.outputs[0]
        y.name = f"{y.name}.folded"  # the old name stands for the old value
    last = rectify or conv
    last.outputs = list(norm.outputs[:1])
    norm.outputs.clear()
    return None


def affine(norm: gs.Node) -> tuple[Values, Values] | None:
    """a and t [C] of z = a*y + t in float64, or None when statistics vary or the node is in training mode."""
    values = [constant(tensor) for tensor in norm.inputs[1:5]]
    if any(value is None for value in values) or norm.attrs.get("training_mode", 0):
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
