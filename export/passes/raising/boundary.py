"""Write padding with a border of any kind as one BoundaryPad node.

Given   y = Pad(x; reflect, edge or wrap), on one axis or several, one Pad after another, zeros among them
Given   y = Concat(x[n−b:], x, x[:e]) and any other joining of slices, turned rows and copies of x's border
Given   y = Gather(x, indices), constant and along one axis
Result  y = BoundaryPad(x; a border for each axis)
Given   conv(BoundaryPad(x)) where an axis has a border of zeros
Result  the same zeros in the convolution's own pads

Exact: each place of y is followed to the place of x that it copies (matching/positions.py), and all are compared with
those of BoundaryPad. nn.Conv's padding_mode, torch.nn.functional.pad, torch.cat of slices, torch.roll and torch.flip of
rows beyond a pole all become such nodes. An axis of open size is taken to be no shorter than its border needs, as
torch demands.

Not when
- the border is of no known kind, or of zeros alone: engines fold those into convolutions themselves;
- a bound or an amount is not constant, elements are removed, or they are no floating-point numbers;
- a circular border is wider than its axis, or than 1 where the axis is open: wrap_pad writes such a one;
- another node reads a tensor between x and y.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto

from rectexport.exporter.graph.dialect import (
    CIRCULAR,
    DOMAIN,
    POLE_POINTS,
    POLES,
    REFLECT,
    REPLICATE,
    SYMMETRIC,
    ZEROS,
)
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_output, is_standard, made_by
from rectexport.exporter.passes.borders import NOTHING as NONE
from rectexport.exporter.passes.borders import POLAR, Border, Places, axis_places, plane_places, reaches
from rectexport.exporter.passes.matching.positions import Plane, moving, plane_sizes, roots
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, only_reader, refused, rewrite

NAME = "raise_boundary_pad"
#: Where several kinds agree, the first is taken: it has the cheapest forms.
_ORDER = (ZEROS, REPLICATE, CIRCULAR, REFLECT, SYMMETRIC, POLES, POLE_POINTS)
#: graphsurgeon numbers the types that NumPy lacks.
_FLOATS = (np.float32, np.float64, np.float16, TensorProto.BFLOAT16)
_UNKNOWN = "what stands beyond the border is of no known kind"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every border."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if is_standard(node, "Conv"):
        return _fold_zeros(scene, node)
    if not _moves_plane(node):
        return NOTHING
    reason = ""
    for root in roots(node.outputs[0]):
        found = _border(scene, root, node.outputs[0])
        if isinstance(found, Border):
            return _replace(scene, node, root, found)
        reason = found or reason
    return refused(reason) if reason else NOTHING


def _moves_plane(node: gs.Node) -> bool:
    """Whether the node may be the last one of a border: it moves floating-point numbers along an axis of the plane."""
    if not moving(node) or is_standard(node, "Slice", "Expand", "Tile") or node.outputs[0].dtype not in _FLOATS:
        return False
    shape = node.inputs[0].shape
    if is_standard(node, "Concat", "Gather"):
        return shape is not None and int(node.attrs.get("axis", 0)) % len(shape) >= 2
    return True


def _border(scene: Scene, root: gs.Tensor, y: gs.Tensor) -> Border | str:
    """The border that makes y of the root; a reason, empty where y does not even hold the root's plane."""
    found: Border | None = None
    for sizes in plane_sizes(scene, root, y):
        plane = Plane(scene, root, sizes)
        places = plane.places(y)
        if places is None or places.ndim != len(sizes) or any(new < old for new, old in zip(
            places.shape, sizes, strict=True
        )):  # fmt: skip
            return ""
        candidates = [found] if found else _candidates(places, sizes)
        found = next((entry for entry in candidates if _is(places, sizes, entry)), None)
        if found is None:
            return _UNKNOWN if _holds(places, sizes) else ""
        if _read_elsewhere(scene, plane, y):
            return ""
    if found is None or all(found.modes[axis] == ZEROS for axis in found.axes):
        return ""
    return _checked(root, made_by(y), found)


def _checked(root: gs.Tensor, node: gs.Node, found: Border) -> Border | str:
    """The border itself, but where the node is this border already or wraps too far around an open axis."""
    if node.domain == DOMAIN and node.inputs[0] is root:
        return ""
    for axis in found.axes:
        wide = max(found.begins[axis], found.ends[axis]) > 1 and not isinstance(root.shape[axis + 2], int)
        if is_standard(node, "Pad") and found.modes[axis] == CIRCULAR and wide:
            return "its axis is open and may be shorter than the border is wide"
    return found


def _candidates(places: Places, sizes: tuple[int, ...]) -> Iterator[Border]:
    """The borders that agree on one line along each axis, through the plane's first element."""
    for start in np.argwhere(places == 0):
        begins = tuple(map(int, start))
        ends = tuple(whole - size - begin for whole, size, begin in zip(places.shape, sizes, begins, strict=True))
        if min(ends) >= 0:
            kinds = [_kinds(places, sizes, begins, ends[axis], axis) for axis in range(len(sizes))]
            yield from (Border(modes, begins, ends) for modes in product(*kinds))


def _kinds(places: Places, sizes: tuple[int, ...], begins: tuple[int, ...], end: int, axis: int) -> list[int]:
    """The kinds of border that one axis may have."""
    size, begin, step = sizes[axis], begins[axis], int(np.prod(sizes[axis + 1 :]))
    line = np.moveaxis(places, axis, -1)[begins[:axis] + begins[axis + 1 :]]
    if not begin and not end:
        return [ZEROS] if np.array_equal(line, np.arange(size) * step) else []
    found = []
    for mode in _ORDER:
        turns = mode in POLAR
        if not reaches(size, max(begin, end), mode) or (turns and axis != len(sizes) - 2):
            continue
        at = axis_places(size, begin, end, mode)
        wanted = np.where(at == NONE, NONE, at * step)
        if turns:
            wanted[:begin] += sizes[-1] - sizes[-1] // 2
            wanted[begin + size :] += sizes[-1] - sizes[-1] // 2
        if np.array_equal(line, wanted):
            found.append(mode)
    return found


def _is(places: Places, sizes: tuple[int, ...], border: Border) -> bool:
    wanted = plane_places(sizes, border)
    return wanted is not None and np.array_equal(places, wanted)


def _holds(places: Places, sizes: tuple[int, ...]) -> bool:
    """Whether the whole plane stands somewhere among the places, with something around it."""
    whole = np.arange(np.prod(sizes)).reshape(sizes)
    if places.shape == whole.shape:
        return False
    starts = (tuple(map(int, start)) for start in np.argwhere(places == 0))
    return any(
        np.array_equal(places[tuple(slice(at, at + size) for at, size in zip(start, sizes, strict=True))], whole)
        for start in starts
    )


def _read_elsewhere(scene: Scene, plane: Plane, y: gs.Tensor) -> bool:
    """Whether other nodes read what stands between the root and y."""
    between = [node.outputs[0] for node in plane.nodes.values() if node.outputs[0] is not y]
    return any(
        is_output(scene.graph, tensor) or any(id(reader) not in plane.nodes for reader in tensor.outputs)
        for tensor in between
    )


def _replace(scene: Scene, node: gs.Node, x: gs.Tensor, border: Border) -> Visit:
    y = node.outputs[0]
    node.outputs.clear()
    scene.graph.nodes.append(border.node(node.name, x, y))
    return FIRED


def _fold_zeros(scene: Scene, conv: gs.Node) -> Visit:
    pad = made_by(conv.inputs[0])
    if pad is None or (pad.op, pad.domain) != ("BoundaryPad", DOMAIN):
        return NOTHING
    border = Border.of(pad)
    zeros = [axis for axis in border.axes if border.modes[axis] == ZEROS]
    if not zeros or not only_reader(scene, pad.outputs[0], conv):
        return NOTHING
    rule = conv.attrs.get("auto_pad", "NOTSET")
    if rule not in ("NOTSET", "VALID"):
        return refused("the convolution pads by its own rule, auto_pad")
    moved, rest = border.only(zeros), border.only([axis for axis in border.axes if axis not in zeros])
    none = [0] * 2 * len(border.modes)
    own = conv.attrs.get("pads", none) if rule == "NOTSET" else none
    conv.attrs.pop("auto_pad", None)
    conv.attrs["pads"] = [mine + its for mine, its in zip(own, (*moved.begins, *moved.ends), strict=True)]
    x = pad.inputs[0]
    if rest.axes:
        padded = gs.Variable(f"{conv.outputs[0].name}.extended", x.dtype, rest.extended(x.shape))
        scene.graph.nodes.append(rest.node(f"{pad.name}.extended", x, padded))
        conv.inputs[0] = padded
    else:
        conv.inputs[0] = x
    return FIRED
