"""From a torch model to ONNX with dialect nodes, dynamic dimensions kept and named."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnx import ModelProto

from rectexport.exporter import dialect, translation
from rectexport.exporter.inputs import InputPlan
from rectexport.exporter.source import Source
from rectexport.runtime.errors import BadInput
from rectexport.runtime.shapes import MAX_DIMENSION, ShapeRange, format_shape

#: Axis names of an image batch, used for dynamic dimensions of rank-4 inputs.
IMAGE_AXES = ("batch", "channels", "height", "width")
MIN_OPSET, MAX_OPSET, DEFAULT_OPSET = dialect.LEAST_OPSET, 23, 18


@dataclass
class Traced:
    """A traced model, un-lowered; program is the torch graph whose node names the tensors carry, if there is one."""

    model: ModelProto
    inputs: tuple[InputPlan, ...]
    program: Any = None


def trace(source: Source, inputs: Sequence[InputPlan], opset: int, dynamic_shapes: Any = None) -> Traced:
    """Trace any kind of source. dynamic_shapes, if given, is torch.export's own and overrides the inputs' ranges.

    Raises BadInput when torch cannot trace the model, and when a dimension asked to be dynamic came out fixed.
    """
    tracers = {
        "module": _trace_module,
        "program": _trace_program,
        "torchscript": _trace_torchscript,
        "onnx": _take_onnx,
    }
    with _quiet():
        traced = tracers[source.kind](source, tuple(inputs), opset, dynamic_shapes)
    dialect.attach_functions(traced.model)
    _check_dynamic(source, traced)
    return traced


def _trace_module(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    asked = dynamic_shapes if dynamic_shapes is not None else tuple(_dims(entry) for entry in inputs)
    arguments = tuple(torch.from_numpy(_traceable(entry, dynamic_shapes)) for entry in inputs)
    try:
        with torch.no_grad():
            program = torch.export.export(source.model.eval(), arguments, dynamic_shapes=asked, strict=False)
    except Exception as error:
        raise BadInput(_explain(source, inputs, error)) from error
    return _convert(source, program, inputs, opset)


def _trace_program(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    return _convert(source, source.model, inputs, opset)


def _convert(source: Source, program: Any, inputs: tuple[InputPlan, ...], opset: int) -> Traced:
    inputs = tuple(
        _with_program_range(entry, shape) for entry, shape in zip(inputs, _user_shapes(program), strict=True)
    )
    try:
        converted: Any = torch.onnx.export(
            program,
            input_names=[entry.name for entry in inputs],
            output_names=_output_names(program),
            opset_version=opset,
            dynamo=True,
            custom_translation_table=translation.table(),
            verbose=False,
        )
    except Exception as error:
        raise BadInput(f"{source.name}: torch.onnx could not convert the model: {_cause(error)}") from error
    model = converted.model_proto
    _name_dimensions(model, inputs)
    _strip_notes(model)
    return Traced(model, inputs, converted.exported_program)


def _trace_torchscript(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    axes = {entry.name: dict(_dynamic_names(entry)) for entry in inputs if entry.range.dynamic_axes}
    arguments = tuple(torch.from_numpy(entry.example) for entry in inputs)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                source.model.eval(),
                arguments,
                path,
                input_names=[entry.name for entry in inputs],
                dynamic_axes=axes,
                opset_version=min(opset, 20),
                dynamo=False,
            )
        except Exception as error:
            raise BadInput(f"{source.name}: torch.onnx could not convert the TorchScript: {_cause(error)}") from error
        return Traced(onnx.load(path), inputs)


def _take_onnx(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    return Traced(source.model, inputs)


def _dims(entry: InputPlan) -> dict[int, Any]:
    bounds = entry.range
    return {
        axis: torch.export.Dim(name, min=bounds.min[axis], max=bounds.max[axis]) for axis, name in _dynamic_names(entry)
    }


def _dynamic_names(entry: InputPlan) -> list[tuple[int, str]]:
    image = len(entry.range.opt) == 4
    clean = re.sub(r"\W", "_", entry.name)
    return [
        (axis, IMAGE_AXES[axis] if image else ("batch" if axis == 0 else f"{clean}_{axis}"))
        for axis in entry.range.dynamic_axes
    ]


def _traceable(entry: InputPlan, dynamic_shapes: Any) -> Any:
    """The example, two long where a dynamic axis has size 1: torch.export takes a 1 for a constant."""
    example = entry.example
    if dynamic_shapes is not None:
        return example
    for axis in entry.range.dynamic_axes:
        if example.shape[axis] == 1:
            example = example.repeat(2, axis=axis)
    return example


def _user_shapes(program: Any) -> list[list[tuple[int, int] | int]]:
    """Each user input's dimensions: a size, or (lower, upper) where it is symbolic."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    shapes: list[list[tuple[int, int] | int]] = []
    for name in program.graph_signature.user_inputs:
        value = values.get(name)
        shape = value.shape if isinstance(value, torch.Tensor) else ()
        shapes.append([size if isinstance(size, int) else _bounds(size, ranges) for size in shape])
    return shapes


def _bounds(size: Any, ranges: Mapping[str, Any]) -> tuple[int, int]:
    limits = ranges.get(str(size.node.expr))
    if limits is None:
        return 1, MAX_DIMENSION
    return max(_whole(limits.lower, 1), 1), _whole(limits.upper, MAX_DIMENSION)


def _whole(limit: Any, unlimited: int) -> int:
    try:
        return min(int(limit), MAX_DIMENSION)
    except (OverflowError, TypeError, ValueError):
        return unlimited


def _with_program_range(entry: InputPlan, shape: list[tuple[int, int] | int]) -> InputPlan:
    """The entry's range where the flags gave one, and the program's own bounds where they gave none."""
    low, high = list(entry.range.min), list(entry.range.max)
    for axis, size in enumerate(shape):
        if isinstance(size, tuple) and low[axis] == high[axis]:
            low[axis], high[axis] = min(size[0], low[axis]), size[1]
    return InputPlan(entry.name, entry.example, ShapeRange(tuple(low), entry.range.opt, tuple(high)))


def _output_names(program: Any) -> list[str]:
    count = len(program.graph_signature.user_outputs)
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _name_dimensions(model: ModelProto, inputs: Sequence[InputPlan]) -> None:
    """Call the exporter's s77 what it is: batch, height, width; everywhere in the model."""
    names: dict[str, str] = {}
    by_name = {entry.name: entry for entry in inputs}
    for value in model.graph.input:
        wanted = dict(_dynamic_names(by_name[value.name])) if value.name in by_name else {}
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param and axis in wanted:
                names.setdefault(dimension.dim_param, wanted[axis])
    if not names:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = pattern.sub(lambda match: names[match[0]], dimension.dim_param)


def _strip_notes(model: ModelProto) -> None:
    """Take out the exporter's notes: stack traces with local paths, a copy of the torch graph."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del holder.metadata_props[:]
        holder.ClearField("doc_string")


def _check_dynamic(source: Source, traced: Traced) -> None:
    values = {value.name: value for value in traced.model.graph.input}
    for entry in traced.inputs:
        if entry.name not in values:
            continue
        for axis, dimension in enumerate(values[entry.name].type.tensor_type.shape.dim):
            if axis in entry.range.dynamic_axes and dimension.HasField("dim_value"):
                low, high = entry.range.min[axis], entry.range.max[axis]
                raise BadInput(
                    f"{source.name}: input {entry.name}, axis {axis}: asked for {low}..{high}, but the model fixes it "
                    f"to {dimension.dim_value}; give it that size in all of --min/opt/max-shapes"
                )


def _explain(source: Source, inputs: Sequence[InputPlan], error: Exception) -> str:
    text = str(error)
    for entry in inputs:
        for axis, name in _dynamic_names(entry):
            if re.search(rf"\b{re.escape(name)}\b", text) and "onstraint" in text:
                low, high = entry.range.min[axis], entry.range.max[axis]
                return (
                    f"{source.name}: input {entry.name}, axis {axis} ({name}): asked for {low}..{high}, but the model "
                    f"does not allow all of it: {_reason(text, name)}; narrow the range or fix the axis with equal "
                    "--min/opt/max-shapes"
                )
    shapes = ", ".join(f"{entry.name} {format_shape(entry.example.shape)}" for entry in inputs)
    return f"{source.name}: torch.export could not trace the model with {shapes}: {_cause(error)}"


def _reason(text: str, name: str) -> str:
    lines = [line.strip(" -") for line in text.splitlines() if name in line]
    telling = next((line for line in lines if "values" in line or "specialized" in line), lines[0])
    return telling.partition(". ")[0][:300]


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from warning about libraries that no model here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
