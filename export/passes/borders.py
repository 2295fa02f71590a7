"""BoundaryPad nodes as plain values, the places that they read, and their nodes in standard operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

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

Places = NDArray[np.int64]
#: The place of a zero.
NOTHING = -1
POLAR = (POLES, POLE_POINTS)
#: What Pad calls the kinds of border that it has, and the opset from which on.
PAD_MODES = {ZEROS: ("constant", 11), REFLECT: ("reflect", 11), REPLICATE: ("edge", 11), CIRCULAR: ("wrap", 19)}
#: Kinds whose last element stands beyond the border too.
_REPEATED = (SYMMETRIC, POLES)
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Border:
    """How the last axes of a tensor are extended: for each axis its mode and how many elements before and behind."""

    modes: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @staticmethod
    def of(node: gs.Node) -> Border:
        """Those of a BoundaryPad node."""
        pads, count = tuple(node.attrs["pads"]), len(node.attrs["modes"])
        return Border(tuple(node.attrs["modes"]), pads[:count], pads[count:])

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are extended, counted from the first behind the channels; rows beyond poles come first."""
        found = [axis for axis in range(len(self.modes)) if self.begins[axis] or self.ends[axis]]
        return tuple(sorted(found, key=lambda axis: self.modes[axis] not in POLAR))

    def only(self, axes: Sequence[int]) -> Border:
        """The same border on these axes alone."""
        kept = [axis in axes for axis in range(len(self.modes))]
        begins, ends = (
            tuple(value if keep else 0 for value, keep in zip(values, kept, strict=True))
            for values in (self.begins, self.ends)
        )
        modes = tuple(mode if keep else ZEROS for mode, keep in zip(self.modes, kept, strict=True))
        return Border(modes, begins, ends)

    def extended(self, shape: Any) -> list[Any] | None:
        """The padded shape of a tensor, as far as its own is known."""
        if shape is None or len(shape) != len(self.modes) + 2:
            return None
        sizes = zip(shape[2:], self.begins, self.ends, strict=True)
        known = [size + begin + end if isinstance(size, int) else None for size, begin, end in sizes]
        same = [size if new is None and not begin + end else new for size, new, begin, end in zip(
            shape[2:], known, self.begins, self.ends, strict=True)]  # fmt: skip
        return [*shape[:2], *same]

    def node(self, name: str, x: gs.Tensor, y: gs.Tensor) -> gs.Node:
        """A BoundaryPad node from x to y."""
        attrs = {"modes": list(self.modes), "pads": [*self.begins, *self.ends]}
        return gs.Node("BoundaryPad", name, attrs, [x], [y], domain=DOMAIN)


def reaches(size: int, amount: int, mode: int) -> bool:
    """Whether an axis is long enough for `amount` elements beyond its border."""
    return mode in (ZEROS, REPLICATE) or amount <= size - (mode in (REFLECT, POLE_POINTS))


def axis_places(size: int, begin: int, end: int, mode: int) -> Places:
    """What the extended axis reads at each place; NOTHING for a zero. The axis must be long enough."""
    at = np.arange(-begin, size + end)
    inside = (at >= 0) & (at < size)
    if mode == ZEROS:
        beyond = np.full_like(at, NOTHING)
    elif mode == CIRCULAR:
        beyond = np.where(at < 0, at + size, at - size)
    elif mode == REPLICATE:
        beyond = np.clip(at, 0, size - 1)
    else:
        repeated = int(mode in _REPEATED)
        beyond = np.where(at < 0, -at - repeated, 2 * (size - 1) - at + repeated)
    return np.where(inside, at, beyond)


def plane_places(sizes: Sequence[int], border: Border) -> Places | None:
    """What the extended plane reads, as positions in the plane's elements; None where an axis is too short."""
    amounts = zip(sizes, border.begins, border.ends, border.modes, strict=True)
    if not all(reaches(size, max(begin, end), mode) for size, begin, end, mode in amounts):
        return None
    plane = np.arange(math.prod(sizes)).reshape(*sizes)
    for axis in border.axes:
        plane = extended_places(plane, axis, border)
    return plane


def extended_places(plane: Places, axis: int, border: Border) -> Places:
    """Positions of a plane, extended along one axis."""
    size, mode = plane.shape[axis], border.modes[axis]
    begin, end = border.begins[axis], border.ends[axis]
    at = axis_places(size, begin, end, mode)
    found = np.take(plane, np.maximum(at, 0), axis)
    outside = np.ones(size + begin + end, bool)
    outside[begin : begin + size] = False
    where = tuple(outside if index == axis else slice(None) for index in range(plane.ndim))
    if mode == ZEROS:
        found[where] = NOTHING
    elif mode in POLAR:
        found[where] = np.roll(found[where], plane.shape[-1] // 2, -1)
    return found


class Writer:
    """Appends the nodes that extend x to y in standard operators."""

    def __init__(self, graph: gs.Graph, x: gs.Tensor, y: gs.Tensor, border: Border) -> None:
        self._graph, self._x, self._y, self._border = graph, x, y, border
        self._count = 0

    def write(self, padded: Sequence[int]) -> None:
        """Pad for the modes in `padded`, one node a mode, and Slice and Concat for the others."""
        border, x = self._border, self._x
        steps: list[list[int]] = []
        for axis in border.axes:
            same = [step for step in steps if border.modes[step[0]] == border.modes[axis]]
            if border.modes[axis] in padded and same:
                same[0].append(axis)
            else:
                steps.append([axis])
        for index, axes in enumerate(steps):
            part = border.only(axes)
            y = self._y if index == len(steps) - 1 else self._tensor(x, part.extended(x.shape))
            if border.modes[axes[0]] in padded:
                self._pad(x, y, part)
            else:
                self._strips(x, y, part, axes[0])
            x = y
        if not steps:
            self._graph.nodes.append(gs.Node("Identity", f"{self._y.name}.same", {}, [x], [self._y]))

    def _pad(self, x: gs.Tensor, y: gs.Tensor, part: Border) -> None:
        mode, _ = PAD_MODES[part.modes[part.axes[0]]]
        amounts = np.array([0, 0, *part.begins, 0, 0, *part.ends], np.int64)
        name = self._name()
        inputs = [x, gs.Constant(f"{name}.amounts", amounts)]
        self._graph.nodes.append(gs.Node("Pad", name, {"mode": mode}, inputs, [y]))

    def _strips(self, x: gs.Tensor, y: gs.Tensor, part: Border, axis: int) -> None:
        begin, end = part.begins[axis], part.ends[axis]
        before, behind = self._beyond(x, axis, begin, end, part.modes[axis])
        node = gs.Node("Concat", self._name(), {"axis": axis + 2}, [*before, x, *behind], [y])
        self._graph.nodes.append(node)

    def _beyond(
        self, x: gs.Tensor, axis: int, begin: int, end: int, mode: int
    ) -> tuple[list[gs.Tensor], list[gs.Tensor]]:
        """The tensors before and behind x: one for each side, or the same one several times."""
        if mode == REPLICATE:
            first, last = (0, 1), (-1, _END)
            return self._repeated(x, axis, first, begin), self._repeated(x, axis, last, end)
        if mode == CIRCULAR:
            before, behind = (-begin, _END, 1), (0, end, 1)
        else:
            skipped = 0 if mode in _REPEATED else 1
            before = (begin - 1 + skipped, skipped - 1 if skipped else -_END, -1)
            behind = (-1 - skipped, -1 - skipped - end, -1)
        found = []
        for amount, (start, stop, step) in ((begin, before), (end, behind)):
            if amount == 1 and step < 0:
                start, stop, step = start, start + 1 or _END, 1
            strip = [self._slice(x, axis, start, stop, step, amount)] if amount else []
            found.append([self._turned(entry) for entry in strip] if mode in POLAR else strip)
        return found[0], found[1]

    def _repeated(self, x: gs.Tensor, axis: int, bounds: tuple[int, int], amount: int) -> list[gs.Tensor]:
        return [self._slice(x, axis, *bounds, 1, 1)] * amount if amount else []

    def _turned(self, strip: gs.Tensor) -> gs.Tensor:
        """torch.roll by half of the last axis."""
        axis, width = len(strip.shape) - 3, strip.shape[-1]
        half = width // 2
        if not half:
            return strip
        parts = [
            self._slice(strip, axis, -half, _END, 1, half),
            self._slice(strip, axis, 0, -half, 1, width - half),
        ]
        y = self._tensor(strip, list(strip.shape))
        self._graph.nodes.append(gs.Node("Concat", self._name(), {"axis": axis + 2}, parts, [y]))
        return y

    def _slice(self, x: gs.Tensor, axis: int, start: int, stop: int, step: int, length: int) -> gs.Tensor:
        shape = None if x.shape is None else [*x.shape[: axis + 2], length, *x.shape[axis + 3 :]]
        y, name = self._tensor(x, shape), self._name()
        values = (start, stop, axis + 2) if step == 1 else (start, stop, axis + 2, step)
        inputs = [gs.Constant(f"{name}.{index}", np.array([value], np.int64)) for index, value in enumerate(values)]
        self._graph.nodes.append(gs.Node("Slice", name, {}, [x, *inputs], [y]))
        return y

    def _tensor(self, x: gs.Tensor, shape: Any) -> gs.Variable:
        return gs.Variable(f"{self._name()}.out", x.dtype, shape)

    def _name(self) -> str:
        self._count += 1
        return f"{self._y.name}.border{self._count}"
