"""Follow the positions of a plane's elements through operators that only move them: Slice, Concat, Gather, Pad, …

A tensor t that such operators make of a root x holds, at each place of its plane, one element of x's plane or a zero.
`Plane.places` gives these positions. Where a size is open, two sizes stand in for it that are larger than every
constant in the graph between x and t: each bound counts from either end, so what holds for both holds for every size
that is large enough for the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.dialect import CIRCULAR, DOMAIN, REFLECT, REPLICATE, ZEROS
from rectexport.exporter.graph.surgeon import MAX_SIDE, is_standard, made_by
from rectexport.exporter.passes.borders import Border, Places, extended_places, reaches
from rectexport.exporter.passes.matching.rewrite import Scene

#: Larger planes are not followed, and no graph that reads farther from an end of an open axis.
MAX_PLANE, MAX_BOUND = 1 << 22, 1 << 6
#: How many moving operators may stand between x and t.
MAX_DEPTH = 8
_MODES = {"constant": ZEROS, "wrap": CIRCULAR, "reflect": REFLECT, "edge": REPLICATE}
_MOVING = ("Slice", "Concat", "Gather", "Pad", "Expand", "Tile")


def moving(node: gs.Node | None) -> bool:
    """Whether the node may only move elements."""
    return node is not None and (is_standard(node, *_MOVING) or (node.op, node.domain) == ("BoundaryPad", DOMAIN))


def data_inputs(node: gs.Node) -> list[gs.Tensor]:
    """The inputs whose elements the node moves."""
    return list(node.inputs) if node.op == "Concat" else [node.inputs[0]]


def roots(tensor: gs.Tensor) -> list[gs.Tensor]:
    """The tensors that a moved one may be made of, the farthest first."""
    found: dict[int, gs.Tensor] = {}
    layer, depth = [tensor], 0
    while layer and depth < MAX_DEPTH:
        above = [entry for made in layer if moving(made_by(made)) for entry in data_inputs(made_by(made))]
        layer = [entry for entry in {id(entry): entry for entry in above}.values() if entry.name]
        for entry in layer:
            found.pop(id(entry), None)
            found[id(entry)] = entry
        depth += 1
    return list(reversed(found.values()))


class Plane:
    """One tensor seen from a root, at one size of its plane."""

    def __init__(self, scene: Scene, root: gs.Tensor, sizes: tuple[int, ...]) -> None:
        self._values, self._root, self.sizes = scene.values, root, sizes
        self.nodes: dict[int, gs.Node] = {}
        self._known: dict[int, Places | None] = {}

    def places(self, tensor: gs.Tensor) -> Places | None:
        """Positions in the root's plane; None where another operator or another tensor has a part in it."""
        if tensor is self._root:
            return np.arange(math.prod(self.sizes)).reshape(self.sizes)
        if id(tensor) not in self._known:
            self._known[id(tensor)] = None  # a graph has no cycles; this only bounds a damaged one
            self._known[id(tensor)] = self._moved(tensor)
        return self._known[id(tensor)]

    def _moved(self, tensor: gs.Tensor) -> Places | None:
        node = made_by(tensor)
        if node is None or not moving(node):
            return None
        parts = [self.places(entry) for entry in data_inputs(node)]
        if any(part is None for part in parts):
            return None
        self.nodes[id(node)] = node
        planes = [part for part in parts if part is not None]
        move = getattr(self, f"_{node.op.lower()}")
        found: Places | None = move(node, planes)
        return found if found is not None and 0 < found.size <= 2 * MAX_PLANE else None

    def _axis(self, axis: Any) -> int:
        """An axis of the tensor as one of the plane; negative for batch and channels."""
        rank = len(self.sizes) + 2
        return int(axis) % rank - 2

    def _concat(self, node: gs.Node, planes: list[Places]) -> Places | None:
        axis = self._axis(node.attrs["axis"])
        others = {(*plane.shape[:axis], *plane.shape[axis + 1 :]) for plane in planes}
        return np.concatenate(planes, axis) if axis >= 0 and len(others) == 1 else None

    def _slice(self, node: gs.Node, planes: list[Places]) -> Places | None:
        known = [self._values.of(entry) for entry in node.inputs[1:] if entry.name]
        given = [[int(entry) for entry in value.reshape(-1)] for value in known if value is not None]
        if len(given) < 2 or len(given) < len(node.inputs) - 1:
            return None
        starts, stops, *rest = given
        axes = [self._axis(entry) for entry in rest[0]] if rest else [axis - 2 for axis in range(len(starts))]
        steps = rest[1] if len(rest) > 1 else [1] * len(starts)
        plane = planes[0]
        if min(axes) < 0 or 0 in steps:
            return None
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
            places = onnx_range(plane.shape[axis], start, stop, step)
            if places is None:
                return None
            plane = np.take(plane, places, axis)
        return plane

    def _gather(self, node: gs.Node, planes: list[Places]) -> Places | None:
        axis, picks = self._axis(node.attrs.get("axis", 0)), self._values.of(node.inputs[1])
        if axis < 0 or picks is None or picks.ndim != 1 or not picks.size:
            return None
        size = planes[0].shape[axis]
        return np.take(planes[0], picks, axis) if -size <= picks.min() and picks.max() < size else None

    def _pad(self, node: gs.Node, planes: list[Places]) -> Places | None:
        border = read_pad(self._values, node, len(self.sizes))
        return None if border is None else _extended(planes[0], border)

    def _boundarypad(self, node: gs.Node, planes: list[Places]) -> Places | None:
        return _extended(planes[0], Border.of(node))

    def _expand(self, node: gs.Node, planes: list[Places]) -> Places | None:
        """Repeats axes of one element; batch and channels must keep their sizes."""
        shape, own = self._values.of(node.inputs[1]), node.inputs[0].shape
        if shape is None or own is None or len(shape) != len(own):
            return None
        if any(int(new) not in (1, old) for new, old in zip(shape[:2], own[:2], strict=True)):
            return None
        repeats = zip(planes[0].shape, (int(size) for size in shape[2:]), strict=True)
        sizes = [old if new in (1, old) else new if old == 1 else 0 for old, new in repeats]
        return np.broadcast_to(planes[0], sizes) if all(sizes) else None

    def _tile(self, node: gs.Node, planes: list[Places]) -> Places | None:
        repeats = self._values.of(node.inputs[1])
        if repeats is None or len(repeats) != len(self.sizes) + 2 or any(int(entry) != 1 for entry in repeats[:2]):
            return None
        times = [int(entry) for entry in repeats[2:]]
        return np.tile(planes[0], times) if max(times) <= MAX_BOUND else None


def onnx_range(size: int, start: int, stop: int, step: int) -> Places | None:
    """The places that ONNX's Slice takes of an axis; None backwards from before its begin: readings differ."""
    if step < 0 and start < -size:
        return None
    start, stop = (value + size if value < 0 else value for value in (start, stop))
    if step > 0:
        return np.arange(min(max(start, 0), size), min(max(stop, 0), size), step)
    return np.arange(min(max(start, 0), size - 1), min(max(stop, -1), size - 1), step)


def _extended(plane: Places, border: Border) -> Places | None:
    for axis in border.axes:
        if not reaches(plane.shape[axis], max(border.begins[axis], border.ends[axis]), border.modes[axis]):
            return None
        plane = extended_places(plane, axis, border)
    return plane


def read_pad(values: Any, node: gs.Node, count: int) -> Border | None:
    """The border that a Pad node gives to a plane of `count` axes; None where it does anything else."""
    given = values.of(node.inputs[1]) if len(node.inputs) > 1 else None
    fill = values.of(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2].name else np.zeros(1)
    mode = _MODES.get(node.attrs.get("mode", "constant"))
    if given is None or mode is None or (mode == ZEROS and (fill is None or fill.any())):
        return None
    amounts, rank = [int(value) for value in given.reshape(-1)], count + 2
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3].name:
        picked = values.of(node.inputs[3])
        if picked is None:
            return None
        axes = [int(axis) % rank for axis in picked.reshape(-1)]
    if len(amounts) != 2 * len(axes) or min(amounts, default=0) < 0:
        return None
    begins, ends = [0] * rank, [0] * rank
    for axis, begin, end in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        begins[axis], ends[axis] = begin, end
    if any((*begins[:2], *ends[:2])):
        return None
    return Border((mode,) * count, tuple(begins[2:]), tuple(ends[2:]))


def plane_sizes(scene: Scene, root: gs.Tensor, target: gs.Tensor) -> list[tuple[int, ...]]:
    """Sizes of the root's plane to look at: its own, or two where any is open; none where it cannot be followed."""
    if root.shape is None or not 3 <= len(root.shape) <= 5:
        return []
    sizes = [size if isinstance(size, int) else None for size in root.shape[2:]]
    bound = max(_bounds(scene, root, target), default=1)
    if None not in sizes:
        known = tuple(int(size or 0) for size in sizes)
        return [known] if 0 < math.prod(known) <= MAX_PLANE and max(known) <= MAX_SIDE else []
    if bound > MAX_BOUND:
        return []
    least = 4 * bound + 5
    found = [tuple(size or least + extra + index for index, size in enumerate(sizes)) for extra in (0, 1)]
    return found if math.prod(found[1]) <= MAX_PLANE else []


def _bounds(scene: Scene, root: gs.Tensor, target: gs.Tensor) -> Iterator[int]:
    """The constants between root and target that count elements from an end."""
    seen: set[int] = set()
    waiting = [target]
    while waiting:
        tensor = waiting.pop()
        node = made_by(tensor)
        if tensor is root or id(tensor) in seen or node is None or not moving(node):
            continue
        seen.add(id(tensor))
        waiting += data_inputs(node)
        if node.op == "BoundaryPad":
            yield from (int(value) for value in node.attrs["pads"])
        for entry in node.inputs[1:] if node.op != "Concat" else ():
            value = scene.values.of(entry) if entry.name else None
            if value is not None and value.dtype.kind == "i":
                yield from (abs(int(each)) for each in value.reshape(-1) if abs(int(each)) < MAX_SIDE)
