"""Trace a module for a range of sizes, and where the range is too wide, find one that works.

A condition that torch could not prove is tried in PyTorch at sizes at which it does not hold. Where PyTorch runs there,
the condition is one of the trace alone, and parity judges the package at such a size. Where it fails, the range is
refused, and the refusal gives a narrower one, which was run in PyTorch and traced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tracing import messages
from rectexport.exporter.tracing.sizes.axes import AskedAxis, asked_ranges, axis_names
from rectexport.exporter.tracing.sizes.exporting import Exported, Request, concerns_sizes, export_range
from rectexport.exporter.tracing.sizes.guards import Axis, Guard, Sizes, broken
from rectexport.exporter.tracing.sizes.steps import steps_that_hold
from rectexport.exporter.tracing.sizes.trials import Failure, Trial, corner_failure, narrowed, working_sizes
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import BadInput, Spellings

#: Sizes that break one condition and are run in PyTorch, and sizes that parity is asked to judge in all.
TRIED, JUDGED = 3, 6


@dataclass(frozen=True)
class Ranged:
    """A program for the inputs' ranges.

    judge    shapes of all inputs at which parity must compare the package
    steps    flags for sizes in steps at which all conditions of the trace hold; empty where it has none, or none do
    """

    program: Any
    inputs: tuple[InputPlan, ...]
    judge: tuple[dict[str, Shape], ...] = ()
    steps: str = ""


@dataclass(frozen=True)
class _Outcome:
    """What became of one range: a program, or torch's error, or what failed in PyTorch."""

    exported: Exported | None = None
    judge: tuple[Sizes, ...] = ()
    error: Exception | None = None
    failure: Failure | None = None


def trace_range(source: Source, inputs: tuple[InputPlan, ...], dynamic_shapes: Any) -> Ranged:
    """Trace a module. Raises BadInput that names the axis, the module and a range that works, where there is one."""
    if dynamic_shapes is not None:
        inputs, asked = asked_ranges(inputs, dynamic_shapes)
        _check_examples(inputs)
    else:
        asked = _asked(inputs)
    own = dynamic_shapes
    request = _request(source, inputs, asked, own)
    outcome = _try(request, inputs)
    if outcome.exported is None:
        raise BadInput(*_refusal(source, request, inputs, outcome)) from outcome.error
    names = [entry.name for entry in inputs]
    trial = Trial(source.model, inputs, request.symbols)
    judge = tuple(dict(zip(names, trial.shapes(sizes), strict=True)) for sizes in outcome.judge)
    steps = steps_that_hold(outcome.exported.guards, inputs, request.symbols) if judge else ""
    return Ranged(outcome.exported.program, inputs, judge, steps)


def _asked(inputs: Sequence[InputPlan]) -> list[dict[int, AskedAxis]]:
    names = axis_names(inputs)
    return [
        {
            axis: AskedAxis(entry.range.min[axis], entry.range.max[axis], entry.range.step_of(axis), name)
            for axis, name in names[entry.name].items()
        }
        for entry in inputs
    ]


def _request(
    source: Source, inputs: Sequence[InputPlan], asked: Sequence[Mapping[int, AskedAxis]], own: Any = None
) -> Request:
    examples = [_traceable(entry, dims) for entry, dims in zip(inputs, asked, strict=True)]
    try:
        arguments = tuple(torch.from_numpy(example) for example in examples)
    except TypeError as error:  # PyTorch lacks the dtype
        raise BadInput(messages.not_traced(source, inputs, error)) from error
    return Request(source.model, tuple(entry.name for entry in inputs), arguments, asked, own)


def _traceable(entry: InputPlan, asked: Mapping[int, AskedAxis]) -> Array:
    """The example, repeated to 2 along dynamic axes of size 1: torch.export treats a size of 1 as a constant."""
    example = entry.example
    for axis in asked:
        if axis < example.ndim and example.shape[axis] == 1:
            example = example.repeat(2, axis=axis)
    return example


def _check_examples(inputs: Sequence[InputPlan]) -> None:
    for entry in inputs:
        for axis in entry.range.dynamic_axes:
            size = entry.range.opt[axis]
            if not entry.range.fits(axis, size):
                allowed, near = entry.range.describe(axis), entry.range.nearest(axis, size)
                raise BadInput(f"input {entry.name}, axis {axis}: the example has {size}, expected {allowed}{near}")


def _try(request: Request, inputs: Sequence[InputPlan]) -> _Outcome:
    try:
        exported = export_range(request)
    except Exception as error:
        return _Outcome(error=error)
    trial = Trial(request.model, inputs, request.symbols)
    failure = corner_failure(trial, inputs)  # torch does not refuse conditions on two axes, as of a flattened plane
    if failure is not None:
        return _Outcome(failure=failure)
    judge: list[Sizes] = []
    for guard in exported.guards:
        for sizes in _spread(guard, inputs, request.symbols):
            failure = trial.at(sizes) if trial.affordable(sizes) else None
            if failure is not None:
                return _Outcome(failure=failure)
            if len(judge) < JUDGED and sizes not in judge:
                judge.append(sizes)
    return _Outcome(exported, tuple(judge))


def _spread(guard: Guard, inputs: Sequence[InputPlan], symbols: Mapping[Axis, str]) -> list[Sizes]:
    """Few of the sizes that break a guard: the first, one from the middle and the last."""
    found = list(broken(guard, inputs, symbols))
    places = sorted({len(found) * place // (TRIED - 1) for place in range(TRIED)})
    return [found[min(place, len(found) - 1)] for place in places] if found else []


def _refusal(
    source: Source, request: Request, inputs: tuple[InputPlan, ...], outcome: _Outcome
) -> list[str | Spellings]:
    error = outcome.error
    if error is not None and not (request.dynamic and concerns_sizes(error)):
        return [messages.not_traced(source, inputs, error)]
    trial = Trial(request.model, inputs, request.symbols)
    axes = _representatives(request, inputs)
    found = working_sizes(trial, axes)
    if found is None:
        return [messages.not_traced(source, inputs, error, trial.at({}))]
    plans = narrowed(inputs, found, request.symbols)
    failed = [entry for entry in found if plans[entry.axis[0]].range != inputs[entry.axis[0]].range]
    if not failed or not any(entry.failure for entry in failed):
        return [messages.refused(source, inputs, request, error, outcome.failure, _fixed(source, inputs, request))]
    works = corner_failure(trial, plans) is None and _traces(source, plans)
    return messages.too_wide(source, inputs, found, plans if works else None, request.symbols)


def _representatives(request: Request, inputs: Sequence[InputPlan]) -> list[Axis]:
    """One axis for each symbol that may vary, and each dynamic axis without a symbol."""
    found: dict[str, Axis] = {}
    for index, entry in enumerate(inputs):
        for axis in entry.range.dynamic_axes:
            found.setdefault(request.symbols.get((index, axis), f"{index}.{axis}"), (index, axis))
    return list(found.values())


def _traces(source: Source, plans: tuple[InputPlan, ...]) -> bool:
    outcome = _try(_request(source, plans, _asked(plans)), plans)
    return outcome.exported is not None


def _fixed(source: Source, inputs: tuple[InputPlan, ...], request: Request) -> bool:
    """Whether the model can be traced with every axis but a batch fixed to its usual size."""
    plans = tuple(
        replace(entry, range=replace(entry.range, min=_fix(entry, "min"), max=_fix(entry, "max"), step=()))
        for entry in inputs
    )
    return _traces(source, plans)


def _fix(entry: InputPlan, side: str) -> Shape:
    shape: Shape = getattr(entry.range, side)
    return (shape[0], *entry.range.opt[1:])
