"""Rectification in the blocked layout of ONNX Runtime's CPU, where r is a tensor that a convolution makes.

ONNX Runtime keeps convolutions on the CPU in the layout [N, C/B, H, W, B]. A multiplication stays in it if both factors
are results of such nodes and their shapes are known to be equal; a constant is no such result, so that the usual
multiply by a constant r changes the layout twice. A convolution with one input channel reads the ordinary layout and
writes the blocked one: with weights of 1 it copies the plane r [N, 1, H, W] into all channels. The plane must not be a
constant either, or the convolution is computed when the model is loaded. ONNX Runtime computes no DequantizeLinear
then, so the plane is dequantized from whole numbers. It is small, and its copies serve every layer of equal r and C.

What it covers: a batch above 1 and an open one, any stride, dilation and kernel, grouped and depthwise convolutions,
residual additions and ReLUs, which ONNX Runtime fuses into the last convolution. It refuses, because there

- H, W are dynamic: r would be computed from a shape, whose result ONNX Runtime cannot see to be as large as y;
- channels are no multiple of a block: the convolution itself leaves the layout, and the multiplication with it;
- the model is int8 or 16 bits wide: the layout is for float32, and quantization has a form of its own;
- v = 0 occurs: 1 / v has no finite value to copy.

The bias costs a pass of its own, the depthwise convolution. Nothing cheaper that takes it was found: put before r, as
in the form `residual`, it is a constant that the convolution adds, which ONNX Runtime copies first (slower: 1.20 of the
plain chain at 16 channels of 32×32, where this form takes 1.11); as a convolution over one more channel it would break
the block of 16; and only a convolution fuses an addition, a multiplication does not.

Source: ONNX Runtime 1.31, the NCHWc transformer (TransformConv, TransformBinary) and constant folding.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.passes.lowering.machinery.blocked import BLOCK
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, detach, emit, read
from rectexport.exporter.passes.lowering.machinery.form import Form
from rectexport.exporter.passes.lowering.machinery.rectify_site import RectifySite
from rectexport.exporter.passes.rectification import SCALE_PREFIX

#: Fewer input channels than in any block are read from the ordinary layout.
FEW = 4
#: Denominators of r that a multiplication by their reciprocal divides by exactly.
_POWERS = (1, 2, 4, 8, 16, 32, 64)


def _refuse(graph: gs.Graph, site: RectifySite) -> str | None:
    conv, bias, r = read(site.conv), site.bias(), site.factors()
    if isinstance(conv, str) or isinstance(r, str):
        return conv if isinstance(conv, str) else str(r)
    if bias is None:
        return "its bias is not a constant"
    if conv.weight.dtype != np.float32:
        return "the blocked layout is for float32"
    if not _runs_blocked(conv):
        return f"the blocked layout needs channels in multiples of {BLOCK}"
    if _batch(graph, site.node.inputs[0]) is None:
        return "the batch is open and no input of the model has it, so shapes cannot be seen to be equal"
    if np.all(r == 1):
        return "r is 1 everywhere"
    return "some windows lie wholly inside the padding" if bool(np.any(r == 0)) else None


def _runs_blocked(conv: Convolution) -> bool:
    """Whether ONNX Runtime runs the convolution in the blocked layout, whatever the size of its blocks."""
    if conv.outputs % BLOCK:
        return False
    if conv.groups == 1:
        return conv.channels < FEW or conv.channels % BLOCK == 0
    depthwise = conv.channels == conv.outputs == conv.groups
    return depthwise or not (conv.channels // conv.groups % BLOCK or conv.outputs // conv.groups % BLOCK)


def _batch(graph: gs.Graph, y: gs.Tensor) -> int | gs.Tensor | None:
    """The batch: a number, or an input of the model whose first size has the same name; None where there is none."""
    batch = y.shape[0] if y.shape is not None and len(y.shape) == 4 else None
    if isinstance(batch, int) and batch > 0:
        return batch
    return next((entry for entry in graph.inputs if batch and entry.shape and entry.shape[0] == batch), None)


def _apply(graph: gs.Graph, site: RectifySite) -> None:
    """Multiply by copies of r that a convolution makes, and add the bias with a depthwise one.

    Given   z = r·y + b, and u = relu(z + s) if an addition or a ReLU follows
    Result  R = conv(p; ones [C, 1, 1, 1]), p = q·s or numerator / q ; z = conv(R·y; I, b), I the depthwise identity

    q [1, 1, H, W] are whole numbers: r/s for a power of two s, so that q·s is exactly r, or else the counts of taps,
    whose division gives r as rounded to float32. p is expanded to a batch above 1. ONNX Runtime fuses an addition and a
    ReLU into the last convolution. A product with 1 and a sum with 0 are exact, so z has the same bits as r·y + b.

    Not when H, W are dynamic (reading a size of y or x would take it out of the layout), channels are no multiples of a
    block, y is not float32, b is no constant, r is 1 everywhere, or v = 0 occurs.
    """
    bias, r, y, z = site.bias(), site.factors(), site.node.inputs[0], site.node.outputs[0]
    assert bias is not None and not isinstance(r, str)
    channels = len(bias)
    plane = _batched(graph, _stored(graph, site, r), y)
    copies = _shared(
        graph,
        f"{plane.name}.c{channels}",
        [plane.shape[0], channels, *plane.shape[2:]],
        lambda out: emit(graph, out.name, Convolution(np.ones((channels, 1, 1, 1), np.float32), None), plane, out),
    )
    detach(graph, site.node)
    scaled = z if not bias.any() else gs.Variable(f"{z.name}.scaled", y.dtype, y.shape)
    graph.nodes.append(gs.Node("Mul", f"{SCALE_PREFIX}.{z.name}", {}, [y, copies], [scaled]))
    if scaled is not z:
        identity = np.ones((channels, 1, 1, 1), bias.dtype)
        emit(graph, f"{z.name}.tail", Convolution(identity, bias, groups=channels), scaled, z)


def _stored(graph: gs.Graph, site: RectifySite, r: Values) -> gs.Tensor:
    """r as an exact multiple of small whole numbers, or as a quotient of such. [1, 1, H, W]."""
    name = f"rectification.{sha256(r.tobytes()).hexdigest()[:12]}.{'x'.join(map(str, r.shape[2:]))}"
    for power in _POWERS:
        if np.all(r * power == np.rint(r * power)) and r.max() * power <= 127:
            return _dequantized(graph, name, (r * power).astype(np.int8), 1 / power)
    numerator = np.array(site.node.attrs["numerator"], np.float32)
    counts = _dequantized(graph, f"{name}.counts", np.rint(numerator / r).astype(np.int32), 1.0)
    top = gs.Constant(f"{name}.numerator", numerator)
    return _shared(graph, name, list(r.shape), lambda out: _add(graph, "Div", out, [top, counts]))


def _dequantized(graph: gs.Graph, name: str, whole: Values, scale: float) -> gs.Tensor:
    inputs = [gs.Constant(f"{name}.whole", whole), gs.Constant(f"{name}.scale", np.array(scale, np.float32))]
    return _shared(graph, name, list(whole.shape), lambda out: _add(graph, "DequantizeLinear", out, inputs))


def _batched(graph: gs.Graph, plane: gs.Tensor, y: gs.Tensor) -> gs.Tensor:
    """The plane, once for each item of the batch."""
    batch, label = _batch(graph, y), y.shape[0]
    if label == 1:
        return plane
    name = f"{plane.name}.n{label}"
    times: gs.Tensor = gs.Constant(f"{name}.times", np.array([label if isinstance(label, int) else 1, 1, 1, 1]))
    if isinstance(batch, gs.Tensor):
        attrs, ones = {"start": 0, "end": 1}, gs.Constant(f"{name}.ones", np.ones(3, np.int64))
        size = _shared(graph, f"{name}.size", [1], lambda out: _add(graph, "Shape", out, [batch], attrs), np.int64)
        join = [size, ones]
        times = _shared(
            graph, f"{name}.times", [4], lambda out: _add(graph, "Concat", out, join, {"axis": 0}), np.int64
        )
    return _shared(graph, name, [label, *plane.shape[1:]], lambda out: _add(graph, "Expand", out, [plane, times]))


def _shared(
    graph: gs.Graph, name: str, shape: list[Any], make: Callable[[gs.Variable], Any], dtype: Any = np.float32
) -> gs.Tensor:
    """The tensor of this name, made where there is none."""
    for node in graph.nodes:
        if node.outputs and node.outputs[0].name == name:
            return node.outputs[0]
    out = gs.Variable(name, np.dtype(dtype), shape)
    make(out)
    return out


def _add(
    graph: gs.Graph, op: str, out: gs.Variable, inputs: list[gs.Tensor], attrs: dict[str, Any] | None = None
) -> None:
    graph.nodes.append(gs.Node(op, f"{out.name}.{op.lower()}", attrs or {}, inputs, [out]))


FORM = Form("blocked", _refuse, _apply, targets=("onnxruntime",))
