"""Forms of rectification: z = r·y + b, r [1, 1, H, W] and b [C], usually followed by ReLU.

As written it is left to the passes rectify_fold (r a constant) and rectify_graph (r from the shapes): Mul, then Add.

residual    b goes into the convolution, and only the border is multiplied by anything but 1
tail        the addition becomes a depthwise 1×1 convolution, into which engines fuse the ReLU

Source: Rectified Convolution (Zhang), eqs. (4) and (6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import constant, dialect_nodes, is_standard, sole_consumer, static_size
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape
from rectexport.exporter.passes.rectification import SCALE_PREFIX, factors, safe_factor

NAME = "rectify"


@dataclass(frozen=True)
class RectifySite:
    """A Rectify node. conv: the convolution before it, where nothing else reads its output; relu: the ReLU after it."""

    node: gs.Node
    conv: gs.Node | None
    relu: gs.Node | None

    def shape(self) -> Shape | None:
        conv = read(self.conv)
        return None if self.conv is None or isinstance(conv, str) else shape_of(conv, self.conv.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        return [entry for entry in (self.conv, self.node, self.relu) if entry is not None]


def find(graph: gs.Graph) -> Iterator[RectifySite]:
    """Every Rectify node."""
    for node in dialect_nodes(graph, "Rectify"):
        y = node.inputs[0]
        conv = y.inputs[0] if y.inputs and sole_consumer(graph, y) is node else None
        relu = sole_consumer(graph, node.outputs[0])
        yield RectifySite(node, conv, relu if is_standard(relu, "Relu") else None)


def _map(site: RectifySite) -> Values | str:
    """r, or the reason why it is no constant."""
    size, out = static_size(site.node.inputs[1]), static_size(site.node.inputs[0])
    if size is None or out is None:
        return "H, W dynamic"
    return factors(site.node, size, out)


def _bias(site: RectifySite) -> Values | None:
    return constant(site.node.inputs[2])


def _refuse_residual(graph: gs.Graph, site: RectifySite) -> str | None:
    conv, bias, r = read(site.conv), _bias(site), _map(site)
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
    conv, bias, r = read(site.conv), _bias(site), _map(site)
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
    bias, r = _bias(site), _map(site)
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
    bias, r = _bias(site), _map(site)
    assert bias is not None and not isinstance(r, str)
    y, z = site.node.inputs[0], site.node.outputs[0]
    detach(graph, site.node)
    scaled = gs.Variable(f"{z.name}.scaled", y.dtype, y.shape)
    scale = gs.Constant(f"{z.name}.factors", safe_factor(r.astype(bias.dtype), len(bias)))
    graph.nodes.append(gs.Node("Mul", f"{SCALE_PREFIX}.{z.name}", {}, [y, scale], [scaled]))
    identity = np.ones((len(bias), 1, 1, 1), bias.dtype)
    emit(graph, f"{z.name}.tail", Convolution(identity, bias, groups=len(bias)), scaled, z)


OPERATOR = Operator(
    NAME, find, (Form("residual", _refuse_residual, _apply_residual), Form("tail", _refuse_tail, _apply_tail))
)
