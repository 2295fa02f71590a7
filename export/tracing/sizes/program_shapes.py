"""Read the shapes and ranges that an exported program, or an ONNX file of torch's, was made for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from onnx import ModelProto

from rectexport.exporter.frontend.arguments import tensor_inputs
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes.axes import step_shape
from rectexport.runtime.base.shapes import MAX_DIMENSION, ShapeRange
from rectexport.runtime.errors import BadInput

#: One dimension of a program: a size, or the smallest size, the largest and the step where it is symbolic.
Size = int | tuple[int, int, int]

#: What torch.onnx calls a dimension that was derived from another one, as in 32*s39.
_MULTIPLE = re.compile(r"([1-9]\d{0,5})\*\w+(?: ([+-]) (\d{1,6}))?")


def user_shapes(program: Any) -> list[list[Size]]:
    """Each user input's dimensions."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    shapes: list[list[Size]] = []
    for name in tensor_inputs(program):
        value = values.get(name)
        shape = value.shape if isinstance(value, torch.Tensor) else ()
        shapes.append([size if isinstance(size, int) else _bounds(size, ranges) for size in shape])
    return shapes


def has_steps(program: Any) -> bool:
    """Whether an input's size is derived from a symbol, as in `32 * Dim("h")`, which torch.onnx does not take."""
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    sizes = [size for value in values if isinstance(value, torch.Tensor) for size in value.shape]
    return any(not isinstance(size, int) and not size.node.expr.is_symbol for size in sizes)


def _bounds(size: Any, ranges: Mapping[str, Any]) -> tuple[int, int, int]:
    expression = size.node.expr
    limits = ranges.get(str(expression))
    if limits is None:
        return 1, MAX_DIMENSION, 1
    low, high = max(_whole(limits.lower, 1), 1), _whole(limits.upper, MAX_DIMENSION)
    return low, high, _step(expression)


def _step(expression: Any) -> int:
    """How far the values of a symbol, or of a linear expression of one, are apart."""
    symbols = list(expression.free_symbols)
    if expression.is_symbol or len(symbols) != 1:
        return 1
    return _whole(expression.coeff(symbols[0]), 1) or 1


def _whole(limit: Any, unlimited: int) -> int:
    try:
        return min(int(limit), MAX_DIMENSION)
    except (AttributeError, OverflowError, TypeError, ValueError):  # sympy's infinity raises any of them
        return unlimited


def with_program_range(entry: InputPlan, shape: Sequence[Size]) -> InputPlan:
    """The entry with the program's own bounds on axes for which the flags give no range.

    Raises BadInput where the example, or a range of the flags, does not fit the program.
    """
    bounds = entry.range
    low, high = list(bounds.min), list(bounds.max)
    steps = [bounds.step_of(axis) for axis in range(len(low))]
    for axis, (size, opt) in enumerate(zip(shape, bounds.opt, strict=True)):
        least, most, step = size if isinstance(size, tuple) else (size, size, 1)
        fixed = low[axis] == high[axis]
        if fixed and (not least <= opt <= most or (opt - least) % step):
            allowed = ShapeRange((least,), (least,), (most,), (step,)).describe(0)
            raise BadInput(f"input {entry.name}, axis {axis}: the model was exported for {allowed}, got {opt}")
        if isinstance(size, tuple) and fixed:
            low[axis], high[axis] = min(least, low[axis]), most
        if step > 1:
            steps[axis] = _common_step(entry, axis, (least, most, step), steps[axis])
    return InputPlan(entry.name, entry.example, ShapeRange(tuple(low), bounds.opt, tuple(high), step_shape(steps)))


def _common_step(entry: InputPlan, axis: int, program: tuple[int, int, int], asked: int) -> int:
    """The step of an axis that the program and the flags agree on."""
    least, most, step = program
    own = ShapeRange((least,), (least,), (most,), (step,))
    for side in ("min", "max"):
        size = getattr(entry.range, side)[axis]
        if entry.range.min[axis] != entry.range.max[axis] and not own.fits(0, size):
            raise BadInput(
                f"input {entry.name}, axis {axis}: the model was exported for {own.describe(0)}, but {side} is "
                f"{size}{own.nearest(0, size)}"
            )
    return asked if asked % step == 0 else step


def with_file_steps(inputs: Sequence[InputPlan], model: ModelProto) -> tuple[InputPlan, ...]:
    """The inputs of an ONNX file with the steps that torch.onnx wrote into its dimensions' names, as in 32*s39."""
    values = {value.name: value for value in model.graph.input}
    return tuple(_with_file_steps(entry, values[entry.name]) if entry.name in values else entry for entry in inputs)


def _with_file_steps(entry: InputPlan, value: Any) -> InputPlan:
    dimensions = value.type.tensor_type.shape.dim
    if len(dimensions) != len(entry.range.opt):
        return entry
    return with_program_range(entry, [_file_size(entry, axis, size) for axis, size in enumerate(dimensions)])


def _file_size(entry: InputPlan, axis: int, dimension: Any) -> Size:
    found = _MULTIPLE.fullmatch(dimension.dim_param)
    if found is None or axis not in entry.range.dynamic_axes:
        return entry.range.opt[axis]
    step, offset = int(found[1]), int(f"{found[2] or '+'}{found[3] or 0}")
    least = offset % step or step
    return least, least + (MAX_DIMENSION - least) // step * step, step
