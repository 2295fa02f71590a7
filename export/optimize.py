"""`rectexport.optimize`: from an ONNX model to one that computes the same, faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from onnx import ModelProto, version_converter

from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import random_input
from rectexport.exporter.frontend.onnx_file import numeric_type
from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import Pass, PassContext, PassPipeline, PassResult, check_finished, select_passes
from rectexport.exporter.passes.lowering import DEFAULT_TARGET, Decision, load_costs
from rectexport.exporter.passes.lowering.machinery.tuning import tuned_costs
from rectexport.exporter.passes.order import PREPARE, RAISE
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.messages import kind_and_line
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import BadInput

#: How far a pass may move an output (relative L2, float32): rounding, and nothing else.
RELATIVE_L2 = 1e-6
#: What an open dimension of an input is taken to be, where no shape is given: batch, channels, then plane.
_OPEN_SIZES = (1, 3, 224, 224)


@dataclass(frozen=True)
class OptimizeOptions:
    """How to optimize. shapes gives inputs their sizes where the model leaves them open."""

    target: str = DEFAULT_TARGET
    tune: bool = False
    guard: bool = True
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    passes: PassPipeline = field(default_factory=PassPipeline.default)


@dataclass(frozen=True)
class Optimized:
    """An optimized model, what each pass did, and the form that each site took."""

    model: ModelProto
    passes: list[PassResult]
    decisions: list[Decision]


def optimize(
    model: ModelProto,
    target: str = DEFAULT_TARGET,
    *,
    tune: bool = False,
    shapes: Mapping[str, Shape] | None = None,
    guard: bool = True,
    passes: PassPipeline | None = None,
) -> tuple[ModelProto, list[PassResult]]:
    """Find our operators in an ONNX model and give each the form that is fastest on the target; exactly.

    target   "onnxruntime", "openvino", "tensorrt" or "portable" (standard operators, as written unless counting
             says better)
    tune     measure the forms on this machine instead of trusting the committed table; remembers the result
    shapes   sizes of inputs that the model leaves open, by input name
    guard    compare the outputs before and after every pass, relative L2 at most 1e-6
    passes   which passes may run; None: PassPipeline.default()

    Returns a new model and what each pass did. Raises UsageError for an unknown target, or tuning on one that
    does not run here; BadInput for a model that cannot be run; ParityError when a pass changes the outputs.
    """
    options = OptimizeOptions(target, tune, guard, shapes or {}, passes or PassPipeline.default())
    done = run_optimize(model, options, Log())
    return done.model, done.passes


def run_optimize(model: ModelProto, options: OptimizeOptions, log: Log) -> Optimized:
    """`optimize` with a log and the decisions. Raises as it does."""
    context = PassContext(options.target)
    load_costs(options.target)  # an unknown target is told before any work
    with log.step("read"):
        model = prepare(model)
        feeds = example_feeds(model, options.shapes)
        log.say(f"{len(model.graph.node)} nodes, opset {dialect.default_opset(model)}")
    early, _ = _split(select_passes(context, options.passes.passes))
    with log.step("raise"):
        model, results = run_passes(model, early, [feeds], log, options.guard, RELATIVE_L2)
        model = infer_shapes(model)
    if options.tune:
        with log.step("tune"):
            context = replace(context, measured=tuned_costs(model, options.target, feeds, log))
    with log.step("lower"):
        log.say(f"costs: {context.costs.description}")
        _, late = _split(select_passes(context, options.passes.passes))
        model, lowered = run_passes(model, late, [feeds], log, options.guard, RELATIVE_L2)
    check_finished(model, context)
    return Optimized(model, [*results, *lowered], context.decisions)


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
            model = version_converter.convert_version(model, dialect.LEAST_OPSET)
        except Exception as error:
            opset = dialect.default_opset(model)
            reason = kind_and_line(error)
            raise BadInput(f"opset {opset} cannot be converted to {dialect.LEAST_OPSET}: {reason}") from None
    return infer_shapes(model)


def input_names(model: ModelProto) -> list[str]:
    """Inputs that have no stored value."""
    stored = {entry.name for entry in model.graph.initializer}
    return [entry.name for entry in model.graph.input if entry.name not in stored]


def example_feeds(model: ModelProto, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """One random array an input. Raises BadInput for an input whose sizes are neither given nor guessable."""
    names, feeds = input_names(model), {}
    for index, value in enumerate(entry for entry in model.graph.input if entry.name in names):
        shape = shapes.get(value.name) or _guess(value.name, value.type.tensor_type.shape)
        feeds[value.name] = random_input(shape, numeric_type(value), index)
    return feeds


def _guess(name: str, shape: onnx.TensorShapeProto) -> Shape:
    sizes = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in shape.dim]
    if None in sizes and len(sizes) not in (1, 2, 4):
        raise BadInput(f"input {name}: its sizes are open; give them with --input {name}:SHAPE")
    return tuple(_OPEN_SIZES[axis] if size is None else size for axis, size in enumerate(sizes))
