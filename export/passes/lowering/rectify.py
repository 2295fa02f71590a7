"""Forms of rectification: z = r·y + b, r [1, 1, H, W] and b [C], usually followed by ReLU.

As written it is left to the passes rectify_fold (r a constant) and rectify_graph (r from the shapes): Mul, then Add.

residual    b goes into the convolution, and only the border is multiplied by anything but 1
tail        the addition becomes a depthwise 1×1 convolution, into which engines fuse the ReLU
blocked     the same in ONNX Runtime's blocked layout, which r does not leave (rectify_blocked.py)

Source: Rectified Convolution (Zhang), eqs. (4) and (6).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.passes.lowering import rectify_blocked
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator
from rectexport.exporter.passes.lowering.machinery.rectify_site import RectifySite, find
from rectexport.exporter.passes.rectification import SCALE_PREFIX, safe_factor

NAME = "rectify"


def _refuse_residual(graph: gs.Graph, site: RectifySite) -> str | None:
    conv, bias, r = read(site.conv), site.bias(), site.factors()
    if isinstance(conv, str) or isinstance(r, str):
        return conv if isinstance(conv, str) else str(r)
    if bias is None:
        return "its bias is not a constant"
    return "some windows lie wholly inside the padding" if bias.any() and bool(np.any(r == 0)) else None


def _apply_residual(graph: gs.Graph, site: RectifySite) -> None:
    """Put the bias before r.

    Given   y = conv(x; W, c) ; z = r·y + b, and u = relu(z) if a ReLU alone reads z
    Result  y = conv(x; W, c + b) ; z = r·(y + R) ; u = r·relu(y + R), with R = b·(1/r − 1) [1, C, H, W]

    R is 0 inside, where r = 1 (sum mode), and is added like a residual branch. relu(r·t) = r·relu(t) because r > 0.
    Engines can fuse convolution, addition and ReLU.

    Not when H, W are dynamic, another node reads y, b is no constant, or v = 0 meets a bias (there r = 0).
    """
    conv, bias, r = read(site.conv), site.bias(), site.factors()
    assert isinstance(conv, Convolution) and site.conv is not None and bias is not None and not isinstance(r, str)
    last = site.relu or site.node
    x, z, y = site.conv.inputs[0], last.outputs[0], site.node.inputs[0]
    dtype, prefix = conv.weight.dtype, z.name
    residual = np.zeros((1, len(bias), *r.shape[2:]))
    if bias.any():
        residual = bias.astype(np.float64).reshape(1, -1, 1, 1) * (1 / r.astype(np.float64) - 1)
    own = bias if conv.bias is None else conv.bias + bias
    detach(graph, site.conv, site.node, *([] if site.relu is None else [site.relu]))
    current = gs.Variable(f"{prefix}.biased", y.dtype, y.shape)
    emit(graph, f"{prefix}.conv", replace(conv, bias=own.astype(dtype)), x, current)
    if residual.any():
        current = _append(graph, "Add", f"{prefix}.corrected", current, residual.astype(dtype))
    if site.relu is not None:
        current = _append(graph, "Relu", f"{prefix}.active", current)
    scale = gs.Constant(f"{prefix}.border", safe_factor(r.astype(dtype), len(bias)))
    graph.nodes.append(gs.Node("Mul", f"{SCALE_PREFIX}.{prefix}", {}, [current, scale], [z]))


def _append(graph: gs.Graph, op: str, name: str, x: gs.Tensor, values: Values | None = None) -> gs.Tensor:
    y = gs.Variable(name, x.dtype, x.shape)
    inputs = [x] if values is None else [x, gs.Constant(f"{name}.values", values)]
    graph.nodes.append(gs.Node(op, f"{name}.{op.lower()}", {}, inputs, [y]))
    return y


def _refuse_tail(graph: gs.Graph, site: RectifySite) -> str | None:
    bias, r = site.bias(), site.factors()
    if isinstance(r, str):
        return r
    if bias is None:
        return "its bias is not a constant"
    if not bias.any():
        return "there is no bias to add"
    hidden = not site.node.attrs["empty_bias"] and bool(np.any(r == 0))
    return "its bias is left out where a window lies wholly inside the padding" if hidden else None


def _apply_tail(graph: gs.Graph, site: RectifySite) -> None:
    """Add the bias with a convolution.

    Given   z = r·y + b
    Result  z = conv(r·y; I, b), I the depthwise 1×1 identity: the addition and the ReLU after it become one pass

    Not when H, W are dynamic, b is zero or no constant, or b is left out where v = 0 (empty_bias 0) and v = 0 occurs.
    """
    bias, r = site.bias(), site.factors()
    assert bias is not None and not isinstance(r, str)
    y, z = site.node.inputs[0], site.node.outputs[0]
    detach(graph, site.node)
    scaled = gs.Variable(f"{z.name}.scaled", y.dtype, y.shape)
    scale = gs.Constant(f"{z.name}.factors", safe_factor(r.astype(bias.dtype), len(bias)))
    graph.nodes.append(gs.Node("Mul", f"{SCALE_PREFIX}.{z.name}", {}, [y, scale], [scaled]))
    identity = np.ones((len(bias), 1, 1, 1), bias.dtype)
    emit(graph, f"{z.name}.tail", Convolution(identity, bias, groups=len(bias)), scaled, z)


OPERATOR = Operator(
    NAME,
    find,
    (
        Form("residual", _refuse_residual, _apply_residual),
        Form("tail", _refuse_tail, _apply_tail),
        rectify_blocked.FORM,
    ),
)
