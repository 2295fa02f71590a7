"""CReLU in the blocked layout of ONNX Runtime's CPU, as one grouped 1×1 convolution.

ONNX Runtime keeps convolutions on the CPU in the layout [N, C/B, H, W, B]. An activation that it cannot fuse into the
convolution before, because something else reads y too, and a Concat stay in it, but each is a pass over memory. Here
one pass makes both signs of a block of channels, and ONNX Runtime fuses the activation into it. It costs 2·B
multiplications for each element of y, most of them by 0: less than the passes that it replaces, but for large planes
of few channels. The two signs lie side by side in each block, so the readers' weights change their order.

Source: ONNX Runtime 1.31, the NCHWc transformer (TransformConv) and ConvActivationFusion.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import constant
from rectexport.exporter.passes.lowering.machinery.blocked import BLOCK
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, Values, emit
from rectexport.exporter.passes.lowering.machinery.crelu_site import CReluSite, redirect
from rectexport.exporter.passes.lowering.machinery.form import Form
from rectexport.exporter.passes.lowering.machinery.readers import Readers, linear_readers


def _refuse(graph: gs.Graph, site: CReluSite) -> str | None:
    readers, y = linear_readers(graph, site.result), site.node.inputs[0]
    if isinstance(readers, str):
        return readers
    if y.dtype != np.float32:
        return "the blocked layout is for float32"
    channels = _channels(y)
    return None if channels and channels % BLOCK == 0 else f"the blocked layout needs channels in multiples of {BLOCK}"


def _channels(y: gs.Tensor) -> int | None:
    known = y.shape is not None and len(y.shape) == 4 and isinstance(y.shape[1], int)
    return int(y.shape[1]) if known else None


def _apply(graph: gs.Graph, site: CReluSite) -> None:
    """Let a grouped convolution make both signs of each block of B channels.

    Given   z = act(concat(y, −y)), read by weights [W_p, W_n]
    Result  t = act(conv(y; E)), E [2·C, B, 1, 1] = [I; −I] in each of C/B groups, read by the same weights in the
            order of t: block 0 of W_p, block 0 of W_n, block 1 of W_p, …

    A product with ±1 and sums with 0 are exact, so t holds the values of z.

    Not when a reader is not linear, z is an output of the graph, y is not float32, or C is open or no multiple of a
    block. Agrees where y is finite.
    """
    readers = linear_readers(graph, site.result)
    assert isinstance(readers, Readers)
    y, old = site.node.inputs[0], site.result
    channels = _channels(y)
    assert channels
    order = interleaved(channels)
    for reader in readers.linear:
        weight = constant(reader.node.inputs[1])
        assert weight is not None
        reader.rewrite(np.take(weight, _spread(order, weight.shape[reader.axis]), axis=reader.axis))
    signed, new = (gs.Variable(f"{old.name}.{word}", old.dtype, old.shape) for word in ("signs", "grouped"))
    both = Convolution(_signs(channels, y.dtype), None, groups=channels // BLOCK)
    emit(graph, f"{signed.name}.conv", both, y, signed)
    attributes = {"alpha": site.slope} if site.slope else {}
    graph.nodes.append(gs.Node("LeakyRelu" if site.slope else "Relu", new.name, attributes, [signed], [new]))
    redirect(graph, site, new, readers)


def interleaved(channels: int) -> Values:
    """For each channel of t, that of concat(y, −y) which it holds. [2·C]."""
    blocks = np.arange(channels).reshape(-1, 1, BLOCK)
    return np.concatenate([blocks, blocks + channels], axis=1).ravel()


def _spread(order: Values, features: int) -> Values:
    """The order of channels as one of features, where a reader sees each channel's pixels side by side."""
    pixels = features // len(order)
    return (order[:, None] * pixels + np.arange(pixels)).ravel()


def _signs(channels: int, dtype: np.dtype) -> Values:
    """E: the identity and its negative for each group. [2·C, B, 1, 1]."""
    identity = np.eye(BLOCK, dtype=dtype)
    return np.tile(np.concatenate([identity, -identity]), (channels // BLOCK, 1))[:, :, None, None]


FORM = Form("grouped", _refuse, _apply, targets=("onnxruntime",))
