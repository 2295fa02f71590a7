"""Trace a torch model to ONNX with dialect nodes; dynamic dimensions are kept and named."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
from onnx import ModelProto

from rectexport.exporter.base.quiet import quiet
from rectexport.exporter.frontend.arguments import tensor_inputs
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.renaming import rename_outputs
from rectexport.exporter.tracing import near_constants, translation
from rectexport.exporter.tracing.outputs import (
    Outputs,
    asked_names,
    program_outputs,
    register_dataclasses,
    result_outputs,
    tensor_outputs,
)
from rectexport.runtime.base.shapes import MAX_DIMENSION, ShapeRange, format_shape
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, RectexportError
from rectexport.runtime.package.structure import renamed

#: Axis names of an image batch, used for dynamic dimensions of rank-4 inputs.
IMAGE_AXES = ("batch", "channels", "height", "width")


@dataclass
class Traced:
    """A traced model before lowering; program is the torch graph whose node names the tensors have, or None.

    structure is what forward returns around its tensors (rectexport.runtime.package.structure); None for a tensor, a
    tuple of tensors and an ONNX file.
    """

    model: ModelProto
    inputs: tuple[InputPlan, ...]
    program: Any = None
    structure: dict[str, Any] | None = None


def trace(source: Source, inputs: Sequence[InputPlan], opset: int, dynamic_shapes: Any = None) -> Traced:
    """Trace any kind of source. dynamic_shapes, if given, is torch.export's own and overrides the inputs' ranges.

    Raises BadInput when torch cannot trace the model, and when the model fixes a dimension that should be dynamic.
    """
    tracers = {
        "module": _trace_module,
        "program": _trace_program,
        "torchscript": _trace_torchscript,
        "onnx": _take_onnx,
    }
    with quiet():
        traced = tracers[source.kind](source, tuple(inputs), opset, dynamic_shapes)
    dialect.attach_functions(traced.model)
    _check_dynamic(source, traced)
    return traced


def name_outputs(traced: Traced, names: Sequence[str]) -> Traced:
    """The traced model with these names for its outputs, in order. Raises UsageError for names that do not fit."""
    found = [value.name for value in traced.model.graph.output]
    new = asked_names(found, names, [entry.name for entry in traced.inputs])
    structure = None if traced.structure is None else renamed(traced.structure, new)
    return replace(traced, model=rename_outputs(traced.model, names), structure=structure)


def _trace_module(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    try:
        asked = dynamic_shapes if dynamic_shapes is not None else _dims(inputs)
        arguments = tuple(torch.from_numpy(_traceable(entry, index, asked)) for index, entry in enumerate(inputs))
        with torch.no_grad():
            program = _exported(source, arguments, asked)
    except RectexportError:
        raise
    except Exception as error:
        raise BadInput(_explain(source, inputs, error)) from error
    return _convert(source, program, inputs, opset)


def _exported(source: Source, arguments: tuple[Any, ...], dynamic_shapes: Any) -> Any:
    model = source.model.eval()
    try:
        return torch.export.export(model, arguments, dynamic_shapes=dynamic_shapes, strict=False)
    except RuntimeError as error:
        if "is not a known type" not in str(error):
            raise
        register_dataclasses(source.name, model(*arguments))
        return torch.export.export(model, arguments, dynamic_shapes=dynamic_shapes, strict=False)


def _trace_program(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    return _convert(source, source.model, inputs, opset)


def _convert(source: Source, program: Any, inputs: tuple[InputPlan, ...], opset: int) -> Traced:
    inputs = tuple(
        _with_program_range(entry, shape) for entry, shape in zip(inputs, _user_shapes(program), strict=True)
    )
    input_names = [entry.name for entry in inputs]
    outputs = program_outputs(source.name, program, input_names)
    try:
        converted: Any = torch.onnx.export(
            tensor_outputs(program),
            opset_version=opset,
            dynamo=True,
            custom_translation_table=translation.table(),
            optimize=False,
            verbose=False,
        )
        near_constants.optimize(converted)
        made = [value for value in converted.model.graph.outputs if value.producer() is not None]
        _rename(made, [f"rectexport_output_{index}" for index in range(len(made))])  # one may be called as an input is
        _rename(converted.model.graph.inputs, input_names)
    except Exception as error:
        raise BadInput(f"{source.name}: torch.onnx could not convert the model: {summary(_root(error))}") from error
    model = rename_outputs(converted.model_proto, outputs.names)
    _name_dimensions(model, inputs)
    _strip_notes(model)
    return Traced(model, inputs, converted.exported_program, outputs.structure)


def _rename(values: Sequence[Any], names: Sequence[str]) -> None:
    for value, name in zip(values, names, strict=True):
        value.name = name


def _trace_torchscript(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    axes = {name: entries for name, entries in _axis_names(inputs).items() if entries}
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        try:
            arguments = tuple(torch.from_numpy(entry.example) for entry in inputs)
            with _without_graph_dump():
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
            fault = f"torch.onnx could not convert the TorchScript: {summary(_root(error))}{_hint(error)}"
            raise BadInput(f"{source.name}: {fault}") from error
        model = onnx.load(path)
        _strip_notes(model)
        outputs = _script_outputs(source, arguments, [entry.name for entry in inputs])
        if len(outputs.names) == len(model.graph.output):
            return Traced(rename_outputs(model, outputs.names), inputs, structure=outputs.structure)
        return Traced(model, inputs)


def _script_outputs(source: Source, arguments: tuple[Any, ...], inputs: Sequence[str]) -> Outputs:
    with torch.no_grad():
        return result_outputs(source.name, source.model(*arguments), inputs)


@contextmanager
def _without_graph_dump() -> Iterator[None]:
    """Within the block, torch's TorchScript exporter does not print the whole graph when it fails.

    It switches its log on at every export, verbose or not (setup_onnx_logging in torch/onnx/_internal), so the switch
    does nothing within the block.
    """
    switch: Any = torch._C._jit_set_onnx_log_enabled
    switch(False)
    torch._C._jit_set_onnx_log_enabled = lambda enabled: None
    try:
        yield
    finally:
        torch._C._jit_set_onnx_log_enabled = switch


def _hint(error: Exception) -> str:
    return "; return a tuple of tensors instead of a dict" if "prim::DictConstruct" in str(error) else ""


def _take_onnx(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    return Traced(copy.deepcopy(source.model), inputs)  # the reference runs the original, which passes must not change


def _dims(inputs: Sequence[InputPlan]) -> tuple[dict[int, Any], ...] | None:
    """dynamic_shapes for torch.export; None if all is fixed, which fits any signature, forward(*images) too."""
    names = _axis_names(inputs)
    if not any(names.values()):
        return None
    return tuple(
        {
            axis: torch.export.Dim(name, min=entry.range.min[axis], max=entry.range.max[axis])
            for axis, name in names[entry.name].items()
        }
        for entry in inputs
    )


def _axis_names(inputs: Sequence[InputPlan]) -> dict[str, dict[int, str]]:
    """Names of the dynamic axes of each input; inputs with the same range share a name, and so a size."""
    ranges: dict[str, tuple[int, int, int]] = {}
    names: dict[str, dict[int, str]] = {entry.name: {} for entry in inputs}
    for entry in inputs:
        bounds, image, own = entry.range, len(entry.range.opt) == 4, _identifier(entry.name)
        for axis in bounds.dynamic_axes:
            name = (entry.axes or IMAGE_AXES)[axis] if image else ("batch" if axis == 0 else f"{own}_{axis}")
            sizes = (bounds.min[axis], bounds.opt[axis], bounds.max[axis])
            shared = ranges.setdefault(name, sizes) == sizes
            names[entry.name][axis] = name if shared else f"{own}_{name}"
    return names


def _identifier(name: str) -> str:
    return re.sub(r"\W|^(?=\d)", "_", name)


def _traceable(entry: InputPlan, index: int, dynamic_shapes: Any) -> Any:
    """The example, repeated to 2 along dynamic axes of size 1: torch.export treats a size of 1 as a constant."""
    example = entry.example
    for axis in _asked_axes(entry.name, index, dynamic_shapes):
        if axis < example.ndim and example.shape[axis] == 1:
            example = example.repeat(2, axis=axis)
    return example


def _asked_axes(name: str, index: int, dynamic_shapes: Any) -> list[int]:
    """Axes of one input that must be dynamic; dynamic_shapes in any form that torch.export takes."""
    if isinstance(dynamic_shapes, Mapping):
        entries = dynamic_shapes.get(name)
    elif isinstance(dynamic_shapes, Sequence) and index < len(dynamic_shapes):
        entries = dynamic_shapes[index]
    else:
        return []
    pairs = entries.items() if isinstance(entries, Mapping) else enumerate(entries or ())
    return [axis for axis, dim in pairs if isinstance(dim, torch.export.Dim) or dim == torch.export.Dim.DYNAMIC]


def _user_shapes(program: Any) -> list[list[tuple[int, int] | int]]:
    """Each user input's dimensions: a size, or (lower, upper) where it is symbolic."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
    shapes: list[list[tuple[int, int] | int]] = []
    for name in tensor_inputs(program):
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
    except (AttributeError, OverflowError, TypeError, ValueError):  # sympy's infinity raises any of them
        return unlimited


def _with_program_range(entry: InputPlan, shape: list[tuple[int, int] | int]) -> InputPlan:
    """The entry with the program's own bounds on axes for which the flags give no range."""
    low, high = list(entry.range.min), list(entry.range.max)
    for axis, (size, opt) in enumerate(zip(shape, entry.range.opt, strict=True)):
        least, most = size if isinstance(size, tuple) else (size, size)
        if low[axis] == high[axis] and not least <= opt <= most:
            allowed = str(least) if least == most else f"{least}..{most}"
            raise BadInput(f"input {entry.name}, axis {axis}: the model was exported for {allowed}, got {opt}")
        if isinstance(size, tuple) and low[axis] == high[axis]:
            low[axis], high[axis] = min(size[0], low[axis]), size[1]
    return replace(entry, range=ShapeRange(tuple(low), entry.range.opt, tuple(high)))


def _name_dimensions(model: ModelProto, inputs: Sequence[InputPlan]) -> None:
    """Rename the exporter's symbols, such as s77, to batch, height, width in the whole model; names stay distinct."""
    names: dict[str, str] = {}
    wanted = _axis_names(inputs)
    for value in model.graph.input:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            name, symbol = wanted.get(value.name, {}).get(axis), dimension.dim_param
            if name and symbol and symbol not in names:
                names[symbol] = name if name not in names.values() else f"{_identifier(value.name)}_{name}"
    if not names:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = pattern.sub(lambda match: names[match[0]], dimension.dim_param)


def _strip_notes(model: ModelProto) -> None:
    """Remove the exporter's notes, also in branches: stack traces with local paths, a copy of the torch graph."""
    _clear_notes(model)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for holder in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            _clear_notes(holder)
        for attribute in (entry for node in graph.node for entry in node.attribute):
            graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _clear_notes(holder: Any) -> None:
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
                    f"to {dimension.dim_value}; fix the axis to that size instead of giving it a range"
                )


def _explain(source: Source, inputs: Sequence[InputPlan], error: Exception) -> str:
    text = str(error)
    names = _axis_names(inputs)
    for entry in inputs:
        for axis, name in names[entry.name].items():
            if re.search(rf"\b{re.escape(name)}\b", text) and "onstraint" in text:
                low, high = entry.range.min[axis], entry.range.max[axis]
                return (
                    f"{source.name}: input {entry.name}, axis {axis} ({name}): asked for {low}..{high}, but the model "
                    f"does not allow all of it: {_reason(text, name)}; narrow the range, or fix the axis to one size"
                )
    shapes = ", ".join(f"{entry.name} {format_shape(entry.example.shape)}" for entry in inputs)
    reason = _violations(text) or summary(_root(error))
    return f"{source.name}: torch.export could not trace the model with {shapes}: {reason}"


def _violations(text: str) -> str:
    """Which of the requested dimensions the model does not allow, and what torch suggests instead."""
    if not text.startswith("Constraints violated"):
        return ""
    before, _, after = text.partition("Suggested fixes:")
    reasons = [line.strip(" -") for line in before.splitlines()[1:] if line.strip()]
    fixes = [line.strip() for line in after.partition("\n\n")[0].splitlines() if line.strip()]
    return f"dynamic_shapes: {'; '.join(reasons)[:600]}; torch suggests {', '.join(fixes)[:300] or 'nothing'}"


def _reason(text: str, name: str) -> str:
    lines = [line.strip(" -") for line in text.splitlines() if name in line]
    telling = next((line for line in lines if "values" in line or "specialized" in line), lines[0])
    return telling.partition(". ")[0][:300]


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
