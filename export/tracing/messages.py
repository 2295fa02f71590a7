"""Say why a model cannot be traced: the axis, the module, the sizes that work, and what to change."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tracing.places import is_model_code, module_of_error
from rectexport.exporter.tracing.sizes.axes import identifier, image_axis
from rectexport.exporter.tracing.sizes.exporting import Request
from rectexport.exporter.tracing.sizes.guards import Axis
from rectexport.exporter.tracing.sizes.trials import Failure, Working
from rectexport.runtime.base.shapes import MAX_DIMENSION, format_shape
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import Spellings

NARROW = "narrow the range, or fix the axis to one size"


def not_traced(
    source: Source, inputs: Sequence[InputPlan], error: Exception | None, failure: Failure | None = None
) -> str:
    """For a model that cannot be traced at any size, or that PyTorch itself does not run."""
    shapes = ", ".join(f"{entry.name} {format_shape(entry.example.shape)}" for entry in inputs)
    if failure is not None:
        reason, module = failure.reason, failure.module
    else:
        assert error is not None
        changed = _CHANGED.search(str(root(error)))
        reason = _CHANGES if changed else _violations(str(error)) or summary(root(error))
        module = (changed[1] or "") if changed else module_of_error(source.model, error)
    remedy = "" if failure is not None or error is None else advice(error)
    return f"{source.name}: torch.export could not trace the model with {shapes}: {reason}{in_module(module)}{remedy}"


def refused(
    source: Source,
    inputs: Sequence[InputPlan],
    request: Request,
    error: Exception | None,
    failure: Failure | None,
    fixed: bool,
) -> str:
    """For a range that torch refuses, though PyTorch runs at its ends."""
    text = str(error) if error is not None else ""
    axis = _blamed(text, request, failure, inputs)
    if axis is None:
        assert error is not None
        return not_traced(source, inputs, error)
    entry, index = inputs[axis[0]], axis[1]
    if failure is not None:
        reason = f"{_failure(inputs, axis, failure)}{in_module(failure.module)}"
    else:
        reason = _reason(text, axis, request)
    tried = f" (at {format_shape(entry.range.opt)} it can be traced)" if fixed else ""
    return f"{source.name}: {_asked(entry, index)}, but the model does not allow all of it: {reason}; {NARROW}{tried}"


def too_wide(
    source: Source,
    inputs: Sequence[InputPlan],
    found: Sequence[Working],
    plans: Sequence[InputPlan] | None,
    symbols: Mapping[Axis, str],
) -> list[str | Spellings]:
    """For a range in which PyTorch itself fails; plans have the ranges that were tried, and work."""
    sentences = []
    for working in found:
        if working.failure is not None:
            entry, index = inputs[working.axis[0]], working.axis[1]
            works = f"{_works(entry, index, working)}{in_module(working.failure.module)}"
            sentences.append(f"{_asked(entry, index)}, {works}: {_failure(inputs, working.axis, working.failure)}")
    text = f"{source.name}: {'; '.join(sentences)}; {NARROW}"
    return [text] if plans is None else [f"{text}; tried, and it works: ", _way(plans, symbols)]


def _failure(inputs: Sequence[InputPlan], axis: Axis, failure: Failure) -> str:
    """At which size PyTorch fails, and with what."""
    name, size = axis_name(inputs[axis[0]], axis[1]), failure.shapes[axis[0]][axis[1]]
    return f"at {name} {size} PyTorch fails with {failure.reason.rstrip('.')}"


def axis_name(entry: InputPlan, axis: int) -> str:
    """What a person calls the axis: height, or x_2."""
    return image_axis(entry.range, axis) or ("batch" if axis == 0 else f"{entry.name}_{axis}")


def in_module(module: str) -> str:
    """The module in brackets, or nothing for the model itself."""
    return f" (module {module})" if module else ""


def _asked(entry: InputPlan, axis: int) -> str:
    return f"input {entry.name}, axis {axis} ({axis_name(entry, axis)}): asked for {entry.range.describe(axis)}"


def _works(entry: InputPlan, axis: int, working: Working) -> str:
    name, low, high, step = axis_name(entry, axis), entry.range.min[axis], entry.range.max[axis], working.step
    if working.low == working.high:
        return f"but the model works at {name} {working.low} alone"
    parts = []
    if step > entry.range.step_of(axis):
        multiples = f"multiples of {step}" if working.low % step == 0 else f"steps of {step} from {working.low} on"
        parts.append(f"but the model works at {multiples} alone")
    if working.low - low >= step or not parts:
        parts.append(f"smallest {name} that works: {working.low}")
    if high - working.high >= step and high != MAX_DIMENSION:
        parts.append(f"largest {name} that works: {working.high}")
    return ", ".join(parts)


def _way(plans: Sequence[InputPlan], symbols: Mapping[Axis, str]) -> Spellings:
    """How to ask for these ranges: by flags, and by torch.export's dynamic_shapes."""
    python = f"dynamic_shapes={_dynamic_shapes(plans, symbols)}"
    words = []
    for flag, side in (("--min-shapes", "min"), ("--max-shapes", "max")):
        words += [flag, ",".join(f"{plan.name}:{format_shape(getattr(plan.range, side))}" for plan in plans)]
    stepped = [plan for plan in plans if plan.range.step]
    if any(low % step for plan in stepped for low, step in zip(plan.range.min, plan.range.step, strict=True)):
        return Spellings(f"from Python, {python}", python)
    if stepped:
        words += ["--multiple-of", ",".join(f"{plan.name}:{format_shape(plan.range.step)}" for plan in stepped)]
    return Spellings(" ".join(words), python)


def _dynamic_shapes(plans: Sequence[InputPlan], symbols: Mapping[Axis, str]) -> str:
    """The ranges as a Python expression: {"x": {2: 2 * Dim("height", min=3, max=8)}}."""
    entries = []
    for index, plan in enumerate(plans):
        axes = (
            f"{axis}: {_dim(plan, axis, symbols.get((index, axis)) or identifier(axis_name(plan, axis)))}"
            for axis in plan.range.dynamic_axes
        )
        entries.append(f'"{plan.name}": {{{", ".join(axes)}}}')
    return f"{{{', '.join(entries)}}}"


def _dim(plan: InputPlan, axis: int, name: str) -> str:
    low, high, step = plan.range.min[axis], plan.range.max[axis], plan.range.step_of(axis)
    offset = low % step
    end = "" if high == MAX_DIMENSION else f", max={(high - offset) // step}"
    dim = f'Dim("{name}", min={(low - offset) // step}{end})'
    return f"{step} * {dim}{f' + {offset}' if offset else ''}" if step > 1 else dim


def _blamed(text: str, request: Request, failure: Failure | None, inputs: Sequence[InputPlan]) -> Axis | None:
    """The first axis that torch names as the cause, or whose size differs from the usual one where PyTorch failed."""
    if failure is not None:
        for index, (shape, entry) in enumerate(zip(failure.shapes, inputs, strict=True)):
            for axis, (size, usual) in enumerate(zip(shape, entry.range.opt, strict=True)):
                if size != usual:
                    return index, axis
    header = re.search(r"Constraints violated \(([^)]*)\)", text)
    named = [word.strip() for word in header[1].split(",")] if header else []
    found = {symbol: axis for axis, symbol in reversed(request.symbols.items())}
    return next((found[name] for name in named if name in found), None)


def _violations(text: str) -> str:
    """Which of the requested dimensions the model does not allow, and what torch suggests instead."""
    if not text.startswith("Constraints violated"):
        return ""
    before, _, after = text.partition("Suggested fixes:")
    reasons = [line.strip(" -") for line in before.splitlines()[1:] if line.strip()]
    fixes = [line.strip() for line in after.partition("\n\n")[0].splitlines() if line.strip()]
    return f"dynamic_shapes: {'; '.join(reasons)[:600]}; torch suggests {', '.join(fixes)[:300] or 'nothing'}"


def _reason(text: str, axis: Axis, request: Request) -> str:
    symbol = request.symbols.get(axis, "")
    lines = [line.strip(" -") for line in text.splitlines() if re.search(rf"\b{re.escape(symbol)}\b", line)]
    telling = next((line for line in lines if "values" in line or "specialized" in line), (lines or [text])[0])
    plain = _SIZE.sub(lambda found: _symbol(found, request), telling.partition(". ")[0].replace(f"{symbol} = L[", "L["))
    return plain.rstrip(".")[:300]


#: What torch calls the size of an input's axis: L['x'].size()[2].
_SIZE = re.compile(r"L\['(\w+)'\](?:\[(\d+)\])?\.size\(\)\[(\d+)\]")


def _symbol(found: re.Match[str], request: Request) -> str:
    index = int(found[2]) if found[2] else request.names.index(found[1]) if found[1] in request.names else 0
    return request.symbols.get((index, int(found[3])), "a size")


#: What torch says of a model whose forward writes to its own parameters, and where it says the module.
_CHANGED = re.compile(
    r"fake tensor in the exported program constant's list(?:.*model attribute: ([\w.]+)\.\w+)?", re.DOTALL
)
_CHANGES = "forward gives the model's own parameters new values"

#: What torch says of a model that reads values of tensors, and what to do about it; each remedy is tried in the tests.
_DATA = ("data-dependent", "DataDependent", "Cannot cast FakeTensor", "unbacked symbol")
_REMEDIES: Mapping[str, str] = {
    "assert": "; forward asserts something about a tensor's values: leave the assertion out of an export, with "
    "`if not torch.compiler.is_exporting():` before it",
    "if": "; forward decides by a tensor's values: use torch.where, or torch.cond for whole branches",
    "change": "; do that once, before the export, or give a trace of the model instead: torch.jit.trace(model, "
    'example).save("model.ts"), and model.ts is the MODEL',
    "": "; forward reads a number from a tensor's values: compute it from shapes, or pass it to the module's __init__",
}


def advice(error: BaseException) -> str:
    """What to change in the model, where the kind of error is known; starts with a semicolon."""
    text = f"{type(error).__name__} {error} {root(error)}"
    if _CHANGED.search(text):
        return _REMEDIES["change"]
    if not any(sign in text for sign in _DATA):
        return ""
    line = _user_line(error)
    kind = "assert" if line.startswith("assert") else "if" if re.match(r"(if|elif|while)\b", line) else ""
    kind = "if" if not kind and re.search(r"\bif\b.*\belse\b", line) else kind
    return _REMEDIES[kind] + (f" ({line[:80]})" if line else "")


def _user_line(error: BaseException) -> str:
    """The innermost line of the model's own code, as it is written."""
    for entry in reversed(traceback.extract_tb(error.__traceback__)):
        if is_model_code(entry.filename):
            return linecache.getline(entry.filename, entry.lineno or 0).strip()
    return ""


def root(error: BaseException) -> BaseException:
    """The error that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def conversion_advice(program: Any, error: BaseException) -> str:
    """Which operator torch.onnx has no translation for, and the module that it is in; starts with a semicolon."""
    found = re.search(r"op='([\w.]+)'", str(root(error)))
    if found is None:
        return ""
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack and str(node.target).startswith(found[1]):
            module = list(stack.values())[-1][0]
            return f"; {found[1]}{in_module(module)} has no ONNX form: compute it from other operations"
    return f"; {found[1]} has no ONNX form: compute it from other operations"
