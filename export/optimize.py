"""`rectexport.optimize`: from an ONNX model to one that computes the same, faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import ModelProto, checker, version_converter

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import OptimizeOptions
from rectexport.exporter.frontend.inputs import random_input
from rectexport.exporter.frontend.onnx_file import numeric_type
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.carried import copy_header
from rectexport.exporter.graph.guard import MAX_BYTES, ChangedByPreparation, Watch, run_passes
from rectexport.exporter.graph.light import is_larger
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import (
    Code,
    Pass,
    PassContext,
    PassPipeline,
    PassResult,
    Refusal,
    check_finished,
    cleanup,
    select_passes,
)
from rectexport.exporter.passes.lowering import Decision, load_costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.exporter.passes.lowering.machinery.tuning import tuned_costs
from rectexport.exporter.passes.order import PREPARE, RAISE
from rectexport.exporter.passes.raising import tidy
from rectexport.exporter.passes.raising.prepare import MIN_OPSET as RAISED_OPSET
from rectexport.exporter.passes.summary import summarize
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, Option

#: How far a pass may move an output (relative L2, float32): rounding, and nothing else.
RELATIVE_L2 = 1e-6
#: Name of the result that says why a model stays at its opset.
OPSET = "opset"
#: What an open dimension of an input is taken to be, where no shape is given: batch, channels, then plane.
_OPEN_SIZES = (1, 3, 224, 224)


@dataclass(frozen=True)
class Optimized:
    """An optimized model, what each pass did, and the form that each site took."""

    model: ModelProto
    passes: list[PassResult]
    decisions: list[Decision]


def optimize(
    model: ModelProto,
    target: str = OptimizeOptions.target,
    *,
    tune: bool = OptimizeOptions.tune,
    shapes: Mapping[str, Shape] | None = None,
    guard: bool = OptimizeOptions.guard,
    passes: PassPipeline | None = OptimizeOptions.passes,
    feeds: Mapping[str, Array] | None = OptimizeOptions.feeds,
) -> tuple[ModelProto, list[PassResult]]:
    """Find our operators in an ONNX model and give each the form that is fastest on the target; exactly.

    model    an onnx.ModelProto with its weights; it is not changed
    target   "onnxruntime", "openvino", "tensorrt" or "portable" (standard operators, as written unless counting
             says better)
    tune     measure the forms on this machine instead of trusting the committed table; remembers the result
    shapes   sizes of inputs that the model leaves open, by input name
    guard    compare the outputs before and after every pass, relative L2 at most 1e-6
    passes   which passes may run; None: PassPipeline.default()
    feeds    inputs by name to compare on, for a model whose inputs cannot be drawn; None: random ones

    Returns a new model and what each pass did. The outputs are those of the model as it is given: a pass that changes
    them is skipped, and its result says so. A model that no pass rewrites, or in which the default passes find only
    identities and constants to tidy, comes back as it is. One whose conversion to a newer opset changes its outputs
    keeps its own: only the passes that can run there do, and the first result says why.
    Raises UsageError for an unknown target, or tuning on one that does not run here; BadInput for shapes that the
    model does not take.
    """
    options = OptimizeOptions(target, tune, guard, shapes or {}, passes or PassPipeline.default(), feeds)
    done = run_optimize(model, options, Log())
    return done.model, done.passes


def run_optimize(
    model: ModelProto, options: OptimizeOptions, log: Log, stored: Mapping[str, Array] = MappingProxyType({})
) -> Optimized:
    """`optimize` with a log and the decisions; stored has the arrays of inputs that stand for weights.

    Raises as it does.
    """
    context = PassContext(options.target)
    load_costs(options.target)  # an unknown target is told before any work
    with log.step("read"):
        feeds = _feeds(model, options, stored)
        log.say(f"{len(model.graph.node)} nodes, opset {dialect.default_opset(model)}")
        try:
            ready, kept = prepare(model), ""
        except BadInput as error:
            ready, kept = infer_shapes(model), str(error)
    for candidate in (ready, infer_shapes(model)):
        try:
            return _run(model, candidate, replace(context, decisions=[]), options, feeds, log, kept)
        except ChangedByPreparation as error:
            old, new = dialect.default_opset(model), dialect.default_opset(candidate)
            if old != new:
                kept = f"converting it from opset {old} to {new} changes what it computes: {error}"
    # Shape inference alone makes some models invalid, such as those with sparse initializers.
    return _run(model, model, replace(context, decisions=[]), options, feeds, log, kept)


def _shaped(model: ModelProto) -> ModelProto:
    """The model with the shapes of inner tensors, or as it is where noting them makes it invalid."""
    shaped = infer_shapes(model)
    if is_larger(shaped, MAX_BYTES):
        return shaped
    try:
        checker.check_model(shaped)
    except checker.ValidationError:
        return model
    return shaped


def _run(
    model: ModelProto,
    ready: ModelProto,
    context: PassContext,
    options: OptimizeOptions,
    feeds: Sequence[Mapping[str, Array]] | str,
    log: Log,
    kept: str,
) -> Optimized:
    """Run the passes on the prepared model; the model as it was read when none fires.

    kept is the reason why the model stays at its old opset, empty where it does not: then the result begins with a
    refusal, and below RAISED_OPSET the passes that find our operators do not run.
    """
    strict = bool(options.shapes) or options.feeds is not None  # what the user gives must fit
    watch = Watch(model, feeds, RELATIVE_L2, strict) if options.guard and not is_larger(model, MAX_BYTES) else None
    known = [] if isinstance(feeds, str) else feeds
    passes = _pipeline(options).passes
    if kept and dialect.default_opset(model) < RAISED_OPSET:
        passes = tuple(entry for entry in passes if entry.stage != RAISE)
    early, _ = _split(select_passes(context, passes))
    with log.step("raise"):
        current, results = run_passes(ready, early, known, log, options.guard, RELATIVE_L2, watch)
        log.say(summarize(results))
        current = _shaped(current)
    if options.tune:
        with log.step("tune"):
            if isinstance(feeds, str):
                raise BadInput(feeds)
            context = replace(context, measured=tuned_costs(current, options.target, feeds[0], log))
    with log.step("lower"):
        log.say(f"costs: {context.costs.description}")
        _, late = _split(select_passes(context, passes))
        current, lowered = run_passes(current, late, known, log, options.guard, RELATIVE_L2, watch)
        log.say(summarize(lowered))
    results = [*_opset_kept(model, kept, log), *results, *lowered]
    skipped = {entry.name for entry in results if entry.skipped}
    decisions = [
        replace(entry, taken=AS_WRITTEN) if f"lower_{entry.operator}" in skipped else entry
        for entry in context.decisions
    ]
    if not any(result.fired for result in results):
        return Optimized(_copied(model), results, decisions)
    fallen = [PassResult(entry.name, (), entry.refused) for entry in results]
    if _only_tidied(results, options) and not _spares_padding(model, current):
        log.say("the model stays as it is: there is only something to tidy, which engines do themselves")
        return Optimized(_copied(model), fallen, decisions)
    if skipped and dialect.used_operators(current) and not dialect.used_operators(model):
        log.say(f"the model stays as it is: it takes {', '.join(sorted(skipped))}, skipped above")
        return Optimized(_copied(model), fallen, [])
    check_finished(current, context, results)
    return Optimized(current, results, decisions)


def _only_tidied(results: Sequence[PassResult], options: OptimizeOptions) -> bool:
    """Whether nothing has fired but the passes that tidy; a pipeline of the caller's own is taken at its word."""
    if _pipeline(options).passes != PassPipeline.default().passes:
        return False
    return all(
        not result.fired
        or result.name in (cleanup.NAME, tidy.NAME)
        or (result.name == RAISE and all(entry.startswith(f"{tidy.NAME}: ") for entry in result.fired))
        for result in results
    )


def _spares_padding(before: ModelProto, after: ModelProto) -> bool:
    """Whether convolutions or pools took over explicit padding, which spares ONNX Runtime a change of layout."""
    windows = ("Conv", "AveragePool", "MaxPool")
    pads = [sum(node.op_type == "Pad" for node in model.graph.node) for model in (before, after)]
    return pads[1] < pads[0] and any(node.op_type in windows for node in after.graph.node)


def _opset_kept(model: ModelProto, reason: str, log: Log) -> list[PassResult]:
    """The refusal of a model that stays at its opset, if there is a reason; it is logged."""
    if not reason:
        return []
    log.say(f"the model stays at opset {dialect.default_opset(model)}: {reason}")
    return [PassResult(OPSET, refused=(Refusal(model.graph.name, reason, Code.OPSET),))]


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _feeds(
    model: ModelProto, options: OptimizeOptions, stored: Mapping[str, Array]
) -> Sequence[Mapping[str, Array]] | str:
    """Inputs to compare on: those given, or random ones and their magnitudes; the reason why none can be made.

    Raises BadInput for given sizes or inputs that the model does not take.
    """
    if options.feeds is not None:
        return [{**options.feeds, **stored}]
    try:
        feeds = example_feeds(model, options.shapes, stored)
    except BadInput as error:
        if options.shapes:
            raise
        return str(error)
    drawn = {name: value for name, value in feeds.items() if name not in stored}
    magnitudes = {name: np.abs(value) for name, value in drawn.items() if value.dtype.kind == "f"}
    return [feeds, {**feeds, **magnitudes}]


def _pipeline(options: OptimizeOptions) -> PassPipeline:
    return options.passes or PassPipeline.default()


def _split(passes: Sequence[Pass]) -> tuple[list[Pass], list[Pass]]:
    """The passes up to the last that raises or prepares, and those after it, which choose forms by costs."""
    last = max((index for index, entry in enumerate(passes) if entry.stage in (RAISE, PREPARE)), default=-1)
    return list(passes[: last + 1]), list(passes[last + 1 :])


def write_model(model: ModelProto, path: Path) -> None:
    """Write an ONNX file that appears whole or not at all. Raises BadInput when it cannot be written."""
    try:
        data = model.SerializeToString()
    except ValueError:
        raise BadInput(f"{path}: the model is larger than 2 GiB, more than one ONNX file holds") from None
    with replaced_file(path) as temporary:
        temporary.write_bytes(data)


def prepare(model: ModelProto) -> ModelProto:
    """The model in an opset that the dialect's functions can be written in, with every shape that can be inferred.

    Raises BadInput when ONNX cannot convert it.
    """
    if dialect.default_opset(model) < dialect.LEAST_OPSET:
        try:
            converted = version_converter.convert_version(model, dialect.LEAST_OPSET)
            copy_header(model, converted)
            if not converted.functions:
                converted.functions.extend(model.functions)
            model = converted
        except Exception as error:
            opset = dialect.default_opset(model)
            raise BadInput(f"opset {opset} cannot be converted to {dialect.LEAST_OPSET}: {summary(error)}") from None
    return infer_shapes(model)


def input_names(model: ModelProto) -> list[str]:
    """Inputs that have no stored value."""
    stored = {entry.name for entry in model.graph.initializer}
    stored |= {entry.values.name for entry in model.graph.sparse_initializer}
    return [entry.name for entry in model.graph.input if entry.name not in stored]


def example_feeds(
    model: ModelProto, shapes: Mapping[str, Shape], stored: Mapping[str, Array] = MappingProxyType({})
) -> dict[str, Array]:
    """One random array an input, but for those that are `stored`.

    Raises BadInput for an input whose sizes are neither given nor guessable.
    """
    names, feeds = set(input_names(model)) - stored.keys(), dict(stored)
    for index, value in enumerate(entry for entry in model.graph.input if entry.name in names):
        shape = shapes.get(value.name) or _guess(value.name, value.type.tensor_type.shape)
        feeds[value.name] = random_input(shape, numeric_type(value), index)
    return feeds


def _guess(name: str, shape: onnx.TensorShapeProto) -> Shape:
    sizes = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in shape.dim]
    if None in sizes and len(sizes) not in (1, 2, 4):
        example = Option("shapes", {name: tuple(size or 1 for size in sizes)})
        raise BadInput(f"input {name}: the model leaves its sizes open; give them, as in ", example)
    return tuple(_OPEN_SIZES[axis] if size is None else size for axis, size in enumerate(sizes))
