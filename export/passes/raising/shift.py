"""Turn symmetric padding computed as a shift back into one SymmetricPad node.

Given   y = conv(x; W), depthwise, W 2 x 2 with a single 1 for each channel, stride 1, dilation 1, the same pads T
        on all four sides (T = 1 or 2), the 1 at one tap for each of four contiguous channel groups
Result  y = SymmetricPad(x)

A 1 at tap (i, j) moves the channel's plane: y[h, w] = x[h + i - T, w + j - T], which is padding T - i above,
T - 1 + i below, and alike in columns: the corner TL for (0, 0), BR for (1, 1). C2sp (T = 1) and C4sp (T = 2)
are lowered to this form where engines are faster that way; raised again, they can be lowered for another engine.

Not when
- a channel's kernel is anything but a single 1, or a bias is added;
- the groups are no division of the channels by four, or two of them share a tap.

Source: Convolution with even-sized kernels and symmetric padding (Wu et al.), whose padding shifts feature groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_standard
from rectexport.exporter.passes.matching.corners import BASES, CORNERS, corner_pads, is_division
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, refused, rewrite
from rectexport.exporter.passes.matching.window import Window, read_plane_window

NAME = "raise_shift"
_PADS = {(base + 1,) * 4 for base in BASES}


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every shift."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, "Conv"):
        return NOTHING
    window = read_plane_window(scene.values, node)
    if window is None or not _may_shift(window):
        return NOTHING
    weight = scene.values.of(node.inputs[1])
    if weight is None or not _is_one_hot(weight) or int(node.attrs.get("group", 1)) != len(weight):
        return NOTHING
    if len(node.inputs) > 2:
        return refused("a bias is added to the shifted channels")
    taps = weight.reshape(len(weight), 4).argmax(axis=1)
    begins = [0, *(np.flatnonzero(np.diff(taps)) + 1).tolist(), len(taps)]
    splits = np.diff(begins).tolist()
    corners = [_corner(int(taps[begin])) for begin in begins[:-1]]
    if len(set(corners)) != 4 or len(corners) != 4 or not is_division(splits):
        return refused(f"its {len(corners)} groups of channels are not shifted as the four of C2sp or C4sp")
    attrs: dict[str, Any] = {"splits": splits, "pads": corner_pads(corners, window.pads[0] - 1)}
    x, y = node.inputs[0], node.outputs[0]
    node.outputs.clear()
    scene.graph.nodes.append(gs.Node("SymmetricPad", node.name, attrs, [x], [y], domain=DOMAIN))
    return FIRED


def _may_shift(window: Window) -> bool:
    unit = window.kernel == (2, 2) and window.strides == window.dilations == (1, 1)
    return unit and window.pads in _PADS


def _is_one_hot(weight: NDArray[Any]) -> bool:
    if weight.shape[1] != 1:
        return False
    ones = (weight == 1).sum(axis=(1, 2, 3))
    return bool((ones == 1).all()) and int((weight != 0).sum()) == len(weight)


def _corner(tap: int) -> str:
    """The corner whose padding needs the 1 at this tap (row-major): a row further down reads one row less above."""
    row, column = divmod(tap, 2)
    return next(name for name, (top, left, _, _) in CORNERS.items() if (top, left) == (1 - row, 1 - column))
