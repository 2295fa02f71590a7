"""Shared by the passes about rectification: r in NumPy, and the nodes that multiply by it and add the bias.

z = r*y + b, without b where v = 0 if empty_bias is 0. The tail is Mul(y, r), then Add(·, b); either is left out
when it would change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.surgeon import constant

WINDOW = ("kernel_shape", "strides", "pads", "dilations", "numerator")
#: Nodes that multiply by r; kept in float32 when the rest of a model goes to half precision.
SCALE_PREFIX = "rectify_scale"


def window(node: gs.Node) -> tuple[Any, ...]:
    """The attributes that decide r, hashable."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in (node.attrs[key] for key in WINDOW))


def taps(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int) -> NDArray[np.int64]:
    """Taps of each window that fall inside the input along one axis. [out]."""
    reads = np.arange(out)[:, None] * stride - pad + np.arange(kernel)[None, :] * dilation
    return ((reads >= 0) & (reads < size)).sum(axis=1)


def axes(node: gs.Node) -> int:
    """How many axes a node of the dialect's rectification has behind the channels."""
    return len(node.attrs["kernel_shape"])


def factors(node: gs.Node, size: Sequence[int], out: Sequence[int]) -> NDArray[np.float64]:
    """r of a Rectify node for an input of `size` and an output of `out`, their sizes behind the channels. [1, 1, …]."""
    kernel, strides, pads, dilations = (node.attrs[key] for key in WINDOW[:4])
    inside: NDArray[Any] = np.ones((), np.int64)
    for i in range(axes(node)):
        counts = taps(size[i], out[i], kernel[i], strides[i], pads[i], dilations[i])
        inside = np.multiply.outer(inside, counts)
    return np.where(inside > 0, node.attrs["numerator"] / np.maximum(inside, 1), 0.0)[None, None]


def factor_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that compute rectification factors from shapes."""
    producers = {name: node for node in model.graph.node for name in node.output}
    pending = [node.input[1] for node in model.graph.node if node.name.startswith(SCALE_PREFIX)]
    found = {}
    while pending:
        node = producers.get(pending.pop())
        if node is not None and node.op_type != "Shape" and node.name not in found:
            found[node.name] = True
            pending.extend(node.input)
    return list(found)


def safe_factor(r: NDArray[Any], channels: Any) -> NDArray[Any]:
    """r, repeated over the channels where a simplifier would take it for a per-channel scale.

    OnnxSlim 0.1.98 folds a [1, 1, 1, W] or [1, 1, H, 1] factor into the convolution before it when W or H equals
    the number of channels, and so breaks the model; it leaves [1, C, H, W] alone. The same is done along one and three
    axes. An unknown number of channels (no int) counts as equal to none.
    """
    if sum(size != 1 for size in r.shape[2:]) == 1 and channels in r.shape[2:] and channels != 1:
        return np.repeat(r, channels, axis=1)
    return r


def apply_tail(graph: gs.Graph, node: gs.Node, r: gs.Tensor | None, occupied: gs.Tensor | None) -> None:
    """Replace a Rectify node: multiply by r (None: r is 1), add the bias, masked by `occupied` if given."""
    y, z = node.inputs[0], node.outputs[0]
    bias = constant(node.inputs[2])
    shifted = bias is None or bool(np.any(bias))
    node.outputs.clear()
    current = y
    if r is not None:
        out = z if not shifted else gs.Variable(f"{z.name}.scaled", y.dtype, z.shape)
        graph.nodes.append(gs.Node("Mul", f"{SCALE_PREFIX}.{z.name}", inputs=[current, r], outputs=[out]))
        current = out
    if shifted:
        shift = _shift(graph, node, f"{z.name}.shift", bias, occupied)
        graph.nodes.append(gs.Node("Add", f"rectify_shift.{z.name}", inputs=[current, shift], outputs=[z]))
    elif r is None:
        graph.nodes.append(gs.Node("Identity", f"rectify_none.{z.name}", inputs=[y], outputs=[z]))


def _shift(
    graph: gs.Graph, node: gs.Node, name: str, bias: NDArray[Any] | None, occupied: gs.Tensor | None
) -> gs.Tensor:
    dtype, column = node.inputs[0].dtype, [1, -1, *[1] * axes(node)]
    if bias is not None:
        shift: gs.Tensor = gs.Constant(name, bias.reshape(column))
    else:
        shape = gs.Constant(f"{name}.shape", np.array(column, np.int64))
        shift = gs.Variable(name, dtype)
        graph.nodes.append(gs.Node("Reshape", f"{name}.reshape", inputs=[node.inputs[2], shape], outputs=[shift]))
    if occupied is None:
        return shift
    masked = gs.Variable(f"{name}.masked", dtype)
    graph.nodes.append(gs.Node("Mul", f"{name}.mask", inputs=[shift, occupied], outputs=[masked]))
    return masked
