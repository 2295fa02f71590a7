"""Trace a torch model to ONNX with dialect nodes; dynamic dimensions are kept and named."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
import torch
from onnx import ModelProto

from rectexport.exporter.base.quiet import quiet
from rectexport.exporter.frontend.arguments import program_module
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source, in_eval_mode, independent_copy
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.renaming import rename_outputs
from rectexport.exporter.tracing import messages, naming, near_constants, translation
from rectexport.exporter.tracing.operators import prepare
from rectexport.exporter.tracing.outputs import (
    Outputs,
    asked_names,
    program_outputs,
    result_outputs,
    tensor_outputs,
)
from rectexport.exporter.tracing.places import line_of_frame, module_of_frame
from rectexport.exporter.tracing.sizes import program_shapes
from rectexport.exporter.tracing.sizes.axes import axis_names
from rectexport.exporter.tracing.sizes.ranges import Ranged, trace_range
from rectexport.exporter.tracing.time_limit import TooLong, frame_of, limited
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.structure import renamed

#: Pad has the mode "wrap" since this opset.
WRAP_OPSET = 19


@dataclass
class Traced:
    """A traced model before lowering; program is the torch graph whose node names the tensors have, or None.

    judge    shapes of all inputs, by name, at which the trace is least certain: parity compares the package there
    steps    flags for sizes in steps at which all conditions of the trace hold, empty where none are known
    structure is what forward returns around its tensors (rectexport.runtime.package.structure); None for a tensor, a
    tuple of tensors and an ONNX file.
    stored are arrays of the model's inputs that stand for weights (see frontend/outside.py).
    """

    model: ModelProto
    inputs: tuple[InputPlan, ...]
    program: Any = None
    judge: tuple[dict[str, Shape], ...] = ()
    steps: str = ""
    structure: dict[str, Any] | None = None
    stored: Mapping[str, Array] = field(default_factory=dict)


def trace(
    source: Source,
    inputs: Sequence[InputPlan],
    opset: int,
    dynamic_shapes: Any = None,
    timeout: float | None = None,
    say: Callable[[str], None] | None = None,
) -> Traced:
    """Trace any kind of source. dynamic_shapes, if given, is torch.export's own and overrides the inputs' ranges.

    timeout is a limit in seconds, None for no limit; say is told now and then what a long trace is doing.

    Raises BadInput when torch cannot trace the model or needs longer than the limit, and when the model fixes a
    dimension that should be dynamic.
    """
    tracers = {
        "module": _trace_module,
        "program": _trace_program,
        "torchscript": _trace_torchscript,
        "onnx": _take_onnx,
    }
    thread = threading.get_ident()
    place: list[str] = []

    def watch(seconds: float) -> None:
        place[:] = [_place(source, thread)]
        if say is not None:
            say(f"still tracing after {seconds:.0f} s{place[0]}")

    try:
        with quiet(), limited(timeout, watch):
            traced = tracers[source.kind](source, tuple(inputs), opset, dynamic_shapes)
    except TooLong:
        raise BadInput(
            f"{source.name}: the trace did not end within {timeout:g} s{''.join(place)}: a loop in forward is written "
            "out step by step; use operations on whole tensors instead, or fix the sizes that it depends on; ",
            Option("trace_timeout"),
            " gives it more time",
        ) from None
    dialect.attach_functions(traced.model)
    _check_dynamic(source, traced)
    return traced


def name_outputs(traced: Traced, names: Sequence[str]) -> Traced:
    """The traced model with these names for its outputs, in order. Raises UsageError for names that do not fit."""
    found = [value.name for value in traced.model.graph.output]
    new = asked_names(found, names, [entry.name for entry in traced.inputs])
    structure = None if traced.structure is None else renamed(traced.structure, new)
    return replace(traced, model=rename_outputs(traced.model, names), structure=structure)


def _place(source: Source, thread: int) -> str:
    frame = frame_of(thread)
    module, line = module_of_frame(source.model, frame), line_of_frame(frame)
    words = [f"in module {module}" if module else "", f"at {line}" if line else ""]
    return "".join(f", {word}" for word in words if word)


def _trace_module(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    source = replace(source, model=in_eval_mode(independent_copy(source.model, share_parameters=True)))
    ranged = trace_range(source, inputs, dynamic_shapes)
    return _ranged(_convert(source, ranged.program, ranged.inputs, opset), ranged)


def _trace_program(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    if not program_shapes.has_steps(source.model):
        return _convert(source, source.model, inputs, opset)
    inputs = _program_inputs(source.model, inputs)
    module = replace(source, kind="module", model=program_module(source.model))
    ranged = trace_range(module, inputs, None)
    return _ranged(_convert(source, ranged.program, ranged.inputs, opset), ranged)


def _ranged(traced: Traced, ranged: Ranged) -> Traced:
    """With what is known of the sizes. Where conditions of the trace do not hold, nor do its shapes of inner tensors.

    ONNX Runtime would give two tensors one buffer, because the trace says that they have one shape.
    """
    if ranged.judge:
        del traced.model.graph.value_info[:]
    return replace(traced, judge=ranged.judge, steps=ranged.steps)


def _program_inputs(program: Any, inputs: Sequence[InputPlan]) -> tuple[InputPlan, ...]:
    shapes = program_shapes.user_shapes(program)
    return tuple(program_shapes.with_program_range(entry, shape) for entry, shape in zip(inputs, shapes, strict=True))


def _convert(source: Source, program: Any, inputs: tuple[InputPlan, ...], opset: int) -> Traced:
    inputs = _program_inputs(program, inputs)
    input_names = [entry.name for entry in inputs]
    outputs = program_outputs(source.name, program, input_names)
    try:
        program = prepare(program)
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
        temporary = [f"rectexport_output_{index}" for index in range(len(made))]  # one may be called as an input is
        naming.rename(made, temporary)
        naming.rename(converted.model.graph.inputs, input_names)
    except Exception as error:
        fault = f"torch.onnx could not convert the model: {summary(messages.root(error))}"
        raise BadInput(f"{source.name}: {fault}{messages.conversion_advice(program, error)}") from error
    model = rename_outputs(converted.model_proto, outputs.names)
    naming.name_dimensions(model, inputs)
    naming.strip_notes(model)
    _raise_for_wrap(model)
    return Traced(model, inputs, converted.exported_program, structure=outputs.structure)


def _raise_for_wrap(model: ModelProto) -> None:
    """Set opset 19 where circular padding needs it: torch.onnx writes Pad's mode "wrap" at 18, too.

    19 only adds to what the operators of 18 do, so nothing else changes.
    """
    wraps = any(
        node.op_type == "Pad" and entry.name == "mode" and entry.s == b"wrap"
        for node in model.graph.node
        for entry in node.attribute
    )
    for entry in model.opset_import:
        if wraps and entry.domain == "" and entry.version < WRAP_OPSET:
            entry.version = WRAP_OPSET


def _trace_torchscript(source: Source, inputs: tuple[InputPlan, ...], opset: int, dynamic_shapes: Any) -> Traced:
    axes = {name: entries for name, entries in axis_names(inputs).items() if entries}
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        try:
            arguments = tuple(torch.from_numpy(entry.example) for entry in inputs)
            with _without_graph_dump():
                torch.onnx.export(
                    in_eval_mode(source.model),
                    arguments,
                    path,
                    input_names=[entry.name for entry in inputs],
                    dynamic_axes=axes,
                    opset_version=min(opset, 20),
                    dynamo=False,
                )
        except Exception as error:
            fault = f"torch.onnx could not convert the TorchScript: {summary(messages.root(error))}{_hint(error)}"
            raise BadInput(f"{source.name}: {fault}") from error
        model = onnx.load(path)
        naming.strip_notes(model)
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
    inputs = program_shapes.with_file_steps(inputs, source.model)
    model = copy.deepcopy(source.model)
    return Traced(model, inputs, stored=source.stored)  # the reference runs the original, which passes must not change


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
