"""Write symmetric padding that is spelled out as one SymmetricPad node.

Given   Concat(Pad(g0), Pad(g1), Pad(g2), Pad(g3)), g the four contiguous channel groups of x (Split or Slices)
Result  SymmetricPad(x)
Given   conv(SymmetricPad(x)) with kernel k and pads of its own
Result  conv without pads over SymmetricPad(x) with both, when that makes it the padding of k

Every group is zero-padded by k/2 - 1 on each side and 1 more on the two sides of its own corner, k = 2 or 4.

Not when
- the groups are not the four of C channels: the first C % 4 one larger, or the last with the rest;
- two groups share a corner, or a pad is not that of a corner;
- the groups are joined in another order or along another axis;
- another node reads a group or a padded group, or one of them is an output of the graph.

Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
"""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_standard, producer, sole_consumer
from rectexport.exporter.passes.matching.channels import channel_groups
from rectexport.exporter.passes.matching.corners import are_symmetric, is_division
from rectexport.exporter.passes.matching.padding import zero_pads
from rectexport.exporter.passes.matching.rewrite import (
    FIRED,
    NOTHING,
    Scene,
    Visit,
    refused,
    rewrite,
    used_elsewhere,
)
from rectexport.exporter.passes.matching.window import read_plane_window

NAME = "raise_symmetric_pad"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every symmetric padding."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if is_standard(node, "Concat") and len(node.inputs) == 4:
        return _join(scene, node)
    return NOTHING


def _join(scene: Scene, concat: gs.Node) -> Visit:
    padded = [producer(entry, "Pad") for entry in concat.inputs]
    pads_nodes = [node for node in padded if node is not None]
    if len(pads_nodes) != 4:
        return NOTHING
    if int(concat.attrs["axis"]) not in (1, -3):
        return refused(f"the padded groups are joined along axis {concat.attrs['axis']}, not the channels")
    groups = channel_groups(scene, [node.inputs[0] for node in pads_nodes])
    if isinstance(groups, str):
        return refused(groups)
    reads = [pair for node in pads_nodes for pair in ((node.outputs[0], concat), (node.inputs[0], node))]
    refusal = used_elsewhere(scene, reads)
    if refusal is not None:
        return refusal
    pads = _corner_pads(scene, pads_nodes)
    if isinstance(pads, str):
        return refused(pads)
    if not is_division(groups.sizes):
        return refused(f"groups of {groups.sizes} channels are no division of {sum(groups.sizes)} by four")
    y = concat.outputs[0]
    concat.outputs.clear()
    attrs: dict[str, Any] = {"splits": groups.sizes, "pads": _with_conv_pads(scene, y, pads)}
    scene.graph.nodes.append(gs.Node("SymmetricPad", concat.name, attrs, [groups.x], [y], domain=DOMAIN))
    return FIRED


def _corner_pads(scene: Scene, nodes: list[gs.Node]) -> list[int] | str:
    """(top, left, bottom, right) of the four groups in one list, or what is wrong with them."""
    pads: list[int] = []
    for node in nodes:
        found = zero_pads(scene, node)
        if found is None:
            return f"{node.outputs[0].name} is not padded by constant zeros"
        if len(found) != 8 or any(found[axis] for axis in (0, 1, 4, 5)):
            return f"{node.outputs[0].name} is padded by {found}: not on H and W alone"
        pads += [*found[2:4], *found[6:8]]
    if not are_symmetric(pads):
        return f"pads {pads} do not go to four corners"
    return pads


def _with_conv_pads(scene: Scene, y: gs.Tensor, pads: list[int]) -> list[int]:
    """The pads with those of the convolution that alone reads y, if both make the padding of its kernel."""
    conv = sole_consumer(scene.graph, y)
    if conv is None or not is_standard(conv, "Conv") or conv.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return pads
    window = read_plane_window(scene.values, conv)
    if window is None or window.kernel[0] != window.kernel[1] or len(set(window.pads)) != 1 or not window.pads[0]:
        return pads
    both = [value + window.pads[0] for value in pads]
    if min(both) != window.kernel[0] // 2 - 1 or window.kernel[0] % 2:
        return pads
    conv.attrs["pads"] = [0, 0, 0, 0]
    shape = conv.inputs[0].shape
    if shape is not None:
        y.shape = [*shape[:2], *(size + 2 * window.pads[0] if isinstance(size, int) else None for size in shape[2:])]
    return both
