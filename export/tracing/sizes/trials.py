"""Find the sizes that a model runs at, by running it in PyTorch.

A range that fails is narrowed axis by axis, the others at their usual size: first the step between the sizes that
work, which is 1 where all do, then the smallest and the largest by bisection. The result is tried at its corners.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from rectexport.exporter.frontend.inputs import InputPlan, fit_example
from rectexport.exporter.tracing.places import module_of_error
from rectexport.exporter.tracing.sizes.axes import step_shape
from rectexport.exporter.tracing.sizes.guards import Axis, Sizes
from rectexport.runtime.base.shapes import Shape, ShapeRange
from rectexport.runtime.base.texts import summary

#: Steps that are tried: what networks that halve and double have first.
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, *(step for step in range(3, 64) if step & (step - 1)))
#: A range is not tried at sizes with more elements than this, or than the usual size has.
MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Failure:
    """What PyTorch said at some sizes, and the module that it was in, as in layer4.0; empty for the model itself."""

    shapes: tuple[Shape, ...]
    reason: str
    module: str


@dataclass(frozen=True)
class Working:
    """Sizes of one axis that were tried: the smallest and largest that work, how far apart, and a failure outside."""

    axis: Axis
    low: int
    high: int
    step: int
    failure: Failure | None = None


@dataclass
class Trial:
    """Runs the model in PyTorch at other sizes; symbols tell which axes share a size."""

    model: Any
    inputs: Sequence[InputPlan]
    symbols: Mapping[Axis, str]
    _known: dict[tuple[Shape, ...], Failure | None] = field(default_factory=dict)

    def at(self, sizes: Mapping[Axis, int]) -> Failure | None:
        """What fails at these sizes, the other axes at their usual ones; None where the model runs."""
        shapes = self.shapes(sizes)
        if shapes not in self._known:
            self._known[shapes] = self._run(shapes)
        return self._known[shapes]

    def shapes(self, sizes: Mapping[Axis, int]) -> tuple[Shape, ...]:
        """The inputs' shapes."""
        by_symbol = {self.symbols[axis]: size for axis, size in sizes.items() if axis in self.symbols}
        return tuple(
            tuple(
                by_symbol.get(self.symbols.get((index, axis), ""), sizes.get((index, axis), usual))
                for axis, usual in enumerate(entry.range.opt)
            )
            for index, entry in enumerate(self.inputs)
        )

    def affordable(self, sizes: Mapping[Axis, int]) -> bool:
        """Whether the model may be run at these sizes without much memory or time."""
        shapes = self.shapes(sizes)
        usual = max(math.prod(entry.range.opt) for entry in self.inputs)
        return max(math.prod(shape) for shape in shapes) <= max(MOST_ELEMENTS, usual)

    def _run(self, shapes: tuple[Shape, ...]) -> Failure | None:
        arrays = [fit_example(entry.example, shape) for entry, shape in zip(self.inputs, shapes, strict=True)]
        try:
            with torch.no_grad():
                self.model(*(torch.from_numpy(array) for array in arrays))
        except Exception as error:
            return Failure(shapes, summary(error), module_of_error(self.model, error))
        return None


def working_sizes(trial: Trial, axes: Sequence[Axis]) -> list[Working] | None:
    """For each dynamic axis, the sizes that work; None where the model does not run at its usual sizes."""
    if trial.at({}) is not None:
        return None
    return [_working(trial, axis) for axis in axes]


def _working(trial: Trial, axis: Axis) -> Working:
    bounds, index = trial.inputs[axis[0]].range, axis[1]
    opt, asked = bounds.opt[index], bounds.step_of(index)
    failure: list[Failure] = []

    def runs(size: int) -> bool:
        found = trial.at({axis: size})
        if found is not None:
            failure.append(found)
        return found is None

    low, high = bounds.min[index], bounds.max[index]
    step = _step(runs, opt, low, high, asked)
    if step is None:
        return Working(axis, opt, opt, asked, failure[0] if failure else None)
    first = opt - (opt - low) // step * step
    smallest = _bisect(runs, opt, first, step)
    last = _last(trial, axis, bounds, step)
    largest = _bisect(runs, opt, last, step) if last > opt else opt
    whole = bounds.max[index] if largest == last and step == asked else largest
    nearest = max(failure, key=lambda found: _size(found, axis) if _size(found, axis) < opt else 0, default=None)
    return Working(axis, smallest, max(whole, smallest), step, nearest)


def _size(failure: Failure, axis: Axis) -> int:
    return failure.shapes[axis[0]][axis[1]]


def _step(runs: Callable[[int], bool], opt: int, low: int, high: int, asked: int) -> int | None:
    """The smallest multiple of the asked step that leads from the usual size to others that work; None without one."""
    for factor in STEPS:
        step = factor * asked
        ways = [(opt + step, opt + 2 * step), (opt - step, opt - 2 * step)]
        inside = [[size for size in way if low <= size <= high] for way in ways]
        if any(way and all(runs(size) for size in way) for way in inside):
            return step
    return None


def _last(trial: Trial, axis: Axis, bounds: ShapeRange, step: int) -> int:
    """The largest size that may be tried, as many steps from the usual one."""
    opt = bounds.opt[axis[1]]
    last = opt + (bounds.max[axis[1]] - opt) // step * step
    while last > opt and not trial.affordable({axis: last}):
        last = opt + (last - opt) // step // 2 * step
    return last


def _bisect(runs: Callable[[int], bool], good: int, end: int, step: int) -> int:
    """The size nearest to `end` that works, in steps from `good`, which works; sizes between are taken to work too."""
    if good == end or runs(end):
        return end
    way = step if end > good else -step
    near, far = 0, abs(end - good) // step
    while far - near > 1:
        middle = (near + far) // 2
        if runs(good + way * middle):
            near = middle
        else:
            far = middle
    return good + way * near


def narrowed(
    inputs: Sequence[InputPlan], found: Sequence[Working], symbols: Mapping[Axis, str]
) -> tuple[InputPlan, ...]:
    """The inputs over the sizes that work."""
    by_axis = {entry.axis: entry for entry in found}
    by_symbol = {symbols[entry.axis]: entry for entry in found if entry.axis in symbols}
    plans = []
    for index, entry in enumerate(inputs):
        low, high = list(entry.range.min), list(entry.range.max)
        steps = [entry.range.step_of(axis) for axis in range(len(low))]
        for axis in range(len(low)):
            working = by_axis.get((index, axis)) or by_symbol.get(symbols.get((index, axis), ""))
            if working is not None:
                low[axis], high[axis], steps[axis] = working.low, working.high, working.step
        bounds = ShapeRange(tuple(low), entry.range.opt, tuple(high), step_shape(steps))
        plans.append(replace(entry, range=bounds))
    return tuple(plans)


def corner_failure(trial: Trial, inputs: Sequence[InputPlan]) -> Failure | None:
    """What fails where every axis has its smallest size, or its largest affordable one."""
    for side in ("min", "max"):
        sizes: Sizes = {
            (index, axis): getattr(entry.range, side)[axis]
            for index, entry in enumerate(inputs)
            for axis in entry.range.dynamic_axes
        }
        if trial.affordable(sizes):
            failure = trial.at(sizes)
            if failure is not None:
                return failure
    return None
