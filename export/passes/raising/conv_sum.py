"""Turn an even kernel written as four convolutions, one for each channel group, back into symmetric padding.

Given   y = conv(g0; W0, p0) + conv(g1; W1, p1) + conv(g2; W2, p2) + conv(g3; W3, p3), g the four contiguous channel
        groups of x, p the pads of four different corners, in any order of addition
Result  y = conv(SymmetricPad(x); [W0 W1 W2 W3]), without padding; biases are added up

Not when
- the groups are not the four of C channels, or two share a corner;
- the convolutions differ in kernel, strides or output channels, or have groups or dilation;
- weights or biases are not constant;
- another node reads a group, a convolution or a partial sum, or one of them is an output of the graph.

Source: Convolution with even-sized kernels and symmetric padding (Wu et al.); exact for any stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import Code, PassResult
from rectexport.exporter.graph.surgeon import is_standard, producer
from rectexport.exporter.passes.matching.channels import channel_groups
from rectexport.exporter.passes.matching.corners import are_symmetric, is_division
from rectexport.exporter.passes.matching.rewrite import (
    FIRED,
    NOTHING,
    Scene,
    Visit,
    only_reader,
    refused,
    rewrite,
    used_elsewhere,
)
from rectexport.exporter.passes.matching.window import Window, read_plane_window

NAME = "raise_conv_sum"
_SUMS = ("Add", "Sum")


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every sum of four corner convolutions."""
    return rewrite(model, NAME, _visit)


@dataclass(frozen=True)
class _Terms:
    """Four convolutions in the order of their channel groups, their windows, and the additions that read them."""

    convs: list[gs.Node]
    windows: list[Window]
    readers: list[gs.Node]

    @property
    def pads(self) -> list[int]:
        """(top, left, bottom, right) of each convolution in turn."""
        return [pad for window in self.windows for pad in window.pads]

    @property
    def even(self) -> int:
        """Rows of the kernel that all four have."""
        return self.windows[0].kernel[0]


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, *_SUMS):
        return NOTHING
    leaves = _leaves(scene, node)
    convs = [conv for leaf, _ in leaves if (conv := _group_conv(leaf)) is not None]
    if len(convs) != 4 or len(leaves) != 4:
        return NOTHING
    windows = [window for conv in convs if (window := read_plane_window(scene.values, conv)) is not None]
    if not _alike(windows):
        return refused("the convolutions differ in kernel or strides, or are dilated")
    order = _channel_order(scene, convs)
    terms = _Terms([convs[i] for i in order], [windows[i] for i in order], [leaves[i][1] for i in order])
    return _join(scene, node, terms)


def _group_conv(term: gs.Tensor) -> gs.Node | None:
    """The convolution of one channel group that makes a term."""
    conv = producer(term, "Conv")
    return conv if conv is not None and producer(conv.inputs[0], "Split", "Slice") is not None else None


def _join(scene: Scene, total: gs.Node, terms: _Terms) -> Visit:
    """Rewrite the sum where its terms are symmetric padding."""
    groups = channel_groups(scene, [conv.inputs[0] for conv in terms.convs])
    if isinstance(groups, str):
        return refused(groups)
    pads = terms.pads
    if not are_symmetric(pads) or min(pads) != terms.even // 2 - 1 or not is_division(groups.sizes):
        return refused(f"groups of {groups.sizes} channels with pads {pads} are no symmetric padding")
    outputs = [(conv.outputs[0], reader) for conv, reader in zip(terms.convs, terms.readers, strict=True)]
    refusal = used_elsewhere(scene, [*outputs, *((conv.inputs[0], conv) for conv in terms.convs)])
    if refusal is not None:
        return refusal
    return _replace(scene, total, terms.convs, groups.x, {"splits": groups.sizes, "pads": pads})


def _leaves(scene: Scene, node: gs.Node) -> list[tuple[gs.Tensor, gs.Node]]:
    """What a tree of additions adds up, each with the node that reads it."""
    leaves: list[tuple[gs.Tensor, gs.Node]] = []
    for tensor in node.inputs:
        inner = producer(tensor, *_SUMS)
        if inner is not None and only_reader(scene, tensor, node) and len(leaves) <= 4:
            leaves += _leaves(scene, inner)
        else:
            leaves.append((tensor, node))
    return leaves


def _alike(windows: Sequence[Window]) -> bool:
    shared = {(window.kernel, window.strides) for window in windows}
    even = all(window.kernel in ((2, 2), (4, 4)) and window.dilations == (1, 1) for window in windows)
    return len(windows) == 4 and len(shared) == 1 and even


def _channel_order(scene: Scene, convs: Sequence[gs.Node]) -> list[int]:
    """The convolutions by where their group begins; addition has no order."""
    return sorted(range(4), key=lambda index: _begin(scene, convs[index].inputs[0]))


def _begin(scene: Scene, group: gs.Tensor) -> int:
    node = group.inputs[0]
    if node.op == "Split":
        return [output is group for output in node.outputs].index(True)
    starts = scene.values.of(node.inputs[1])
    return int(starts.flat[0]) if starts is not None and starts.size else 0


def _replace(scene: Scene, total: gs.Node, convs: Sequence[gs.Node], x: gs.Tensor, attrs: dict[str, Any]) -> Visit:
    weights = [scene.values.of(conv.inputs[1]) for conv in convs]
    biases = [scene.values.of(conv.inputs[2]) for conv in convs if len(conv.inputs) > 2]
    known = [weight for weight in weights if weight is not None]
    shifts: list[NDArray[Any]] = [bias for bias in biases if bias is not None]
    if len({len(weight) for weight in known}) > 1:
        return refused("the convolutions have different numbers of channels")
    if len(known) != 4 or len(shifts) != len(biases) or any(conv.attrs.get("group", 1) != 1 for conv in convs):
        return refused("the convolutions have groups, or weights that are not constant", Code.NOT_CONSTANT)
    y = total.outputs[0]
    total.outputs.clear()
    padded = gs.Variable(f"{y.name}.padded", x.dtype)
    inputs = [padded, gs.Constant(f"{y.name}.weight", np.concatenate(known, axis=1))]
    if shifts:
        inputs.append(gs.Constant(f"{y.name}.bias", np.sum(shifts, axis=0, dtype=np.float64).astype(shifts[0].dtype)))
    window = {name: convs[0].attrs[name] for name in ("kernel_shape", "strides") if name in convs[0].attrs}
    pad = gs.Node("SymmetricPad", f"{y.name}.pad", attrs, [x], [padded], domain=DOMAIN)
    scene.graph.nodes.extend([pad, gs.Node("Conv", convs[0].name or y.name, window, inputs, [y])])
    return FIRED
