"""Turn an even kernel written as the odd kernel that contains it back into symmetric padding.

Given   y = conv(x; W'), W' (k+1) x (k+1) with padding k/2, dilation 1, whose input channels form four groups,
        each zero outside the k x k slice at one corner of its own
Result  y = conv(SymmetricPad(x); W), W the k x k slices, without padding

A slice at the top left reads one row and column more above and left, which is the padding of corner TL.
4/9 of the multiplications are left for k = 2.

Not when
- the weights of a group fit no corner or more than one: then it is an ordinary convolution;
- two groups share a corner, or the weights are not constant.
Other readers of the weights keep them.

Source: Convolution with even-sized kernels and symmetric padding (Wu et al.); the form is exact for any stride
and groups.
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
from rectexport.exporter.passes.matching.corners import corner_pads
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, rewrite
from rectexport.exporter.passes.matching.window import Window, read_plane_window
from rectexport.models.layers.symmetry import group_sizes

NAME = "raise_embedded_kernel"
Weights = NDArray[Any]
#: First row and column of each corner's slice.
_OFFSETS = {"TL": (0, 0), "TR": (0, 1), "BL": (1, 0), "BR": (1, 1)}


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every embedded even kernel."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, "Conv"):
        return NOTHING
    window = read_plane_window(scene.values, node)
    if window is None or not _may_embed(window):
        return NOTHING
    weight = scene.values.of(node.inputs[1])
    if weight is None:
        return NOTHING
    groups = int(node.attrs.get("group", 1))
    channels, even = weight.shape[1] * groups, window.kernel[0] - 1
    for remainder in ("first", "last"):
        splits = group_sizes(channels, remainder)
        corners = _corners(_support(weight, groups), splits, even)
        if corners is not None:
            _replace(scene, node, weight, groups, splits, corners)
            return FIRED
    return NOTHING


def _may_embed(window: Window) -> bool:
    square = window.kernel in ((3, 3), (5, 5)) and window.dilations == (1, 1)
    return square and set(window.pads) == {window.kernel[0] // 2}


def _support(weight: Weights, groups: int) -> NDArray[np.bool_]:
    """Where the weights of each input channel are not zero. [C, k + 1, k + 1]."""
    outputs, inputs = weight.shape[:2]
    used = (weight != 0).reshape(groups, outputs // groups, inputs, *weight.shape[2:]).any(axis=1)
    return used.reshape(groups * inputs, *weight.shape[2:])


def _corners(support: NDArray[np.bool_], splits: list[int], even: int) -> list[str] | None:
    """The corner of each group, if every group has exactly one and all differ."""
    if min(splits) < 1:
        return None
    found, begin = [], 0
    for count in splits:
        used: NDArray[np.bool_] = np.any(support[begin : begin + count], axis=0)
        begin += count
        fitting = [
            corner
            for corner, (row, column) in _OFFSETS.items()
            if used.sum() == used[row : row + even, column : column + even].sum()
        ]
        if len(fitting) != 1:
            return None
        found += fitting
    return found if len(set(found)) == 4 else None


def _replace(scene: Scene, conv: gs.Node, weight: Weights, groups: int, splits: list[int], corners: list[str]) -> None:
    x, y, even = conv.inputs[0], conv.outputs[0], weight.shape[2] - 1
    padded = gs.Variable(f"{y.name}.padded", x.dtype, _padded_shape(x, even))
    attrs = {"splits": splits, "pads": corner_pads(corners, even // 2 - 1)}
    scene.graph.nodes.append(gs.Node("SymmetricPad", f"{y.name}.pad", attrs, [x], [padded], domain=DOMAIN))
    owner = np.repeat(corners, splits)
    per_group = weight.shape[1]
    kernel = np.empty((*weight.shape[:2], even, even), weight.dtype)
    for output in range(weight.shape[0]):
        first = output // (weight.shape[0] // groups) * per_group
        for index in range(per_group):
            row, column = _OFFSETS[owner[first + index]]
            kernel[output, index] = weight[output, index, row : row + even, column : column + even]
    conv.inputs[0], conv.inputs[1] = padded, gs.Constant(f"{y.name}.kernel", kernel)
    conv.attrs["kernel_shape"], conv.attrs["pads"] = [even, even], [0, 0, 0, 0]
    conv.attrs.pop("auto_pad", None)


def _padded_shape(x: gs.Tensor, even: int) -> list[Any] | None:
    if x.shape is None:
        return None
    return [*x.shape[:2], *(size + even - 1 if isinstance(size, int) else None for size in x.shape[2:])]
