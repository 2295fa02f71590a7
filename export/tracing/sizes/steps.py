"""Find steps between sizes at which every condition of a trace holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes.axes import step_shape
from rectexport.exporter.tracing.sizes.guards import Axis, Guard, broken
from rectexport.exporter.tracing.sizes.trials import STEPS
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape, format_shape


def steps_that_hold(guards: Sequence[Guard], inputs: Sequence[InputPlan], symbols: Mapping[Axis, str]) -> str:
    """The flag with which all conditions hold, as in "--multiple-of x:1x1x4x4"; empty where no step does that.

    One step is tried for all axes of the conditions that some size breaks.
    """
    axes = {axis for guard in guards if next(broken(guard, inputs, symbols), None) for axis in guard.axes.values()}
    for step in STEPS[1:] if axes else ():
        own = [{axis for index, axis in axes if index == place} for place in range(len(inputs))]
        plans = [_in_steps(entry, chosen, step) for entry, chosen in zip(inputs, own, strict=True)]
        held = [plan for plan in plans if plan is not None]
        if len(held) == len(plans) and not any(next(broken(guard, held, symbols), None) for guard in guards):
            return " ".join(_flag(plan) for plan in held if plan.range.step)
    return ""


def _in_steps(entry: InputPlan, axes: set[int], step: int) -> InputPlan | None:
    """The input with sizes that are multiples of step, too, along these axes; None where fewer than two fit."""
    bounds = entry.range
    low, high, steps = list(bounds.min), list(bounds.max), [bounds.step_of(axis) for axis in range(len(bounds.min))]
    for axis in axes:
        steps[axis] = both = math.lcm(steps[axis], step)
        low[axis] = -(-bounds.min[axis] // both) * both
        high[axis] = bounds.max[axis] if bounds.max[axis] == MAX_DIMENSION else bounds.max[axis] // both * both
        if low[axis] >= high[axis]:
            return None
    return replace(entry, range=replace(bounds, min=tuple(low), max=tuple(high), step=step_shape(steps)))


def _flag(plan: InputPlan) -> str:
    shape: Shape = plan.range.step
    return f"--multiple-of {plan.name}:{format_shape(shape)}"
