"""The guard: compare a model's outputs before and after each pass; a pass that changes them is skipped.

Most passes are right: `run_at_once` compares the model once, behind all of them. Only where that differs are the passes
run again with a comparison around each, which names the one at fault.

The first reference is the model as it was read, before any preparation. Distances are bounded for float32, and in
proportion to their rounding for other types. A model that ONNX Runtime does not run is run in float64, and the type
that rounds most among its stored tensors, inputs and outputs counts. Where a distance exceeds its bound, the model
before is also run in float64: the result may be as far from that as the model before is, times FURTHER. So a badly
conditioned BatchNorm, or a graph in half precision, is not taken for a wrong rewrite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph.carried import has_default
from rectexport.exporter.graph.light import is_larger, with_inputs
from rectexport.exporter.graph.random_numbers import DrawnInside, Frozen
from rectexport.exporter.graph.results import Code, Pass, PassResult, Refusal
from rectexport.exporter.graph.widened import run_in_float64
from rectexport.runtime.base.engine_errors import first_line
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, RectexportError

#: Enough for float32 rounding in a deep net; a wrong rewrite differs by orders of magnitude more.
RELATIVE_L2 = 1e-5
#: protobuf cannot hold a larger model in one message; such a model is compared by the parity check only.
MAX_BYTES = 2**31 - 1
#: How much further from the float64 result a rewritten model may be than the model before.
FURTHER = 4.0
#: A model that is further from its float64 result than this is run by other rules there, and no measure.
LARGEST_ROUNDING = 1e-2
#: Rounding of each type in units of float32's.
_ROUNDING = {"float32": 1.0, "float16": 2.0**13, "bfloat16": 2.0**16, "float64": 2.0**-29}
#: Layers that are quantized as operators of their own, and those that are between Q/DQ nodes.
QUANTIZED_LAYERS = frozenset(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"))
LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
#: Operators of a quantized model.
QUANTIZING = QUANTIZED_LAYERS | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
#: Long sums round more often than once.
_LEAST_BOUND = 1e-12

Outputs = dict[str, Any]
Feeds = Mapping[str, Array]


class ChangedByPreparation(Exception):
    """The model that the first pass gets computes something else than the model as it was read."""


def run_passes(
    model: ModelProto,
    passes: Sequence[Pass],
    feeds: Sequence[Feeds],
    log: Log,
    guard: bool = True,
    tolerance: float = RELATIVE_L2,
    watch: Watch | None = None,
) -> tuple[ModelProto, list[PassResult]]:
    """Apply passes in order; with guard, compare the outputs before and after each that fired, on every feed.

    tolerance bounds the relative L2 difference of every float32 output. watch holds the reference of earlier passes;
    by default it is `model`. A pass is skipped when its result differs, when ONNX's checker or ONNX Runtime refuses it,
    or when it cannot be compared: then its result has not fired and ends with a refusal of code "guard". Of a pass with
    parts only the parts that fail alone are skipped; then each part has a result of its own.
    Raises ChangedByPreparation when `model` differs from the reference of `watch`, and BadInput when that does not run.
    """
    results: list[PassResult] = []
    if watch is None and guard and not is_larger(model, MAX_BYTES):
        watch = Watch(model, feeds, tolerance)
    for entry in passes:
        model, made = _guarded(entry, model, watch, log)
        results += made
    return model, results


def run_at_once(model: ModelProto, passes: Sequence[Pass], watch: Watch) -> tuple[ModelProto, list[PassResult]] | None:
    """Apply all passes, and compare the outputs once.

    None where they differ, a pass fails or the model does not run: then `run_passes` finds out which pass is at fault.
    """
    current, results = model, []
    try:
        for entry in passes:
            current, result = _apply(entry, current)
            results.append(result)
        if any(result.skipped for result in results) or (current is not model and watch.fault(model, current)):
            return None
    except Exception:  # `run_passes` meets it again, if it is not a consequence of a wrong pass before
        return None
    return current, results


def _guarded(entry: Pass, model: ModelProto, watch: Watch | None, log: Log) -> tuple[ModelProto, list[PassResult]]:
    """Run a pass, or its parts one by one where it fails as a whole."""
    rewritten, result = _apply(entry, model)
    if watch and (result.fired or rewritten is not model):
        reason = watch.fault(model, rewritten)
        if reason:
            rewritten, result = model, _skipped(entry.name, result, reason)
    if result.skipped and entry.parts:
        log.detail(f"{entry.name}: {result.refused[-1].reason}; its parts run one by one")
        results: list[PassResult] = []
        for part in entry.parts:
            model, made = _guarded(part, model, watch, log)
            results += made
        return model, results
    log.detail(summary(result))
    if result.skipped:
        log.say(f"pass {entry.name} is skipped: {result.refused[-1].reason}")
    return rewritten, [result]


def _apply(entry: Pass, model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Run a pass; one of ours that fails inside is skipped, as one of the user's is not."""
    if entry.finds_nothing(model):
        return model, PassResult(entry.name)
    try:
        return entry.run(model)
    except RectexportError:
        raise
    except Exception as error:
        if not entry.stage:
            raise
        reason = (
            f"it failed with {type(error).__name__}: {first_line(error)}; this is a bug in rectexport: please report it"
        )
        return model, _skipped(entry.name, PassResult(entry.name), reason)


def _skipped(name: str, result: PassResult, reason: str) -> PassResult:
    where = result.fired[0] if result.fired else name
    return PassResult(name, (), (*result.refused, Refusal(where, reason, Code.GUARD)))


class Watch:
    """Holds the outputs of the last model that was accepted; at first those of the model as it was read.

    feeds is a sequence of inputs by name, or the reason why none could be made. Nothing runs before a pass has fired.
    strict raises BadInput when the model does not run with them; else passes are skipped, as they always are where a
    subgraph or a function draws random numbers.
    """

    def __init__(
        self,
        model: ModelProto,
        feeds: Sequence[Feeds] | str,
        tolerance: float = RELATIVE_L2,
        strict: bool = True,
    ) -> None:
        self._no_feeds = feeds if isinstance(feeds, str) else None
        self._feeds: Sequence[Feeds] = () if isinstance(feeds, str) else feeds
        self._strict = strict
        self._tolerance = tolerance
        self._accepted = model
        self._signature = _signature(model)
        self._coarsest = coarsest_float(model)
        self._in_float64 = False
        self._frozen: Frozen | None = None
        self._outputs: list[Outputs] | None = None
        self._first: tuple[ModelProto, list[Outputs]] | None = None

    def restart(self) -> None:
        """Make the first reference the reference again; its outputs are not computed twice."""
        if self._first is not None:
            self._accepted, self._outputs = self._first

    def fault(self, before: ModelProto, after: ModelProto) -> str | None:
        """What is wrong with a pass that made `after`, or None; then `after` becomes the reference.

        Raises ChangedByPreparation when `before` differs from the reference, BadInput when the reference does not run.
        """
        if self._no_feeds:
            return f"its effect cannot be compared: {self._no_feeds}"
        if self._outputs is None:
            try:
                self._start()
            except DrawnInside as error:
                return f"its effect cannot be compared: {error}"
            except RectexportError as error:
                if self._strict:
                    raise
                return f"its effect cannot be compared: the model does not run: {error}"
            if before is not self._accepted:
                change = self._difference(before)
                if change:
                    raise ChangedByPreparation(change)
        return self._difference(after)

    def _start(self) -> None:
        self._frozen = Frozen.of(self._accepted, self._feeds)
        self._outputs = self._run(self._accepted)
        self._first = self._accepted, self._outputs

    def _difference(self, model: ModelProto) -> str | None:
        if _signature(model) != self._signature:
            return "it changed the model's inputs or outputs"
        try:
            outputs = self._run(model, check=True)
        except Exception as error:
            return f"it made an invalid model: {first_line(error)}"
        assert self._outputs is not None
        for index, (before, after) in enumerate(zip(self._outputs, outputs, strict=True)):
            for name, expected in before.items():
                reason = self._change(index, name, expected, after[name])
                if reason:
                    return reason
        self._accepted, self._outputs = model, outputs
        return None

    def _change(self, feed: int, name: str, expected: Any, actual: Any) -> str | None:
        """How an output differs beyond its bound, or None."""
        if isinstance(expected, (list, dict)) or not isinstance(expected, np.ndarray):
            return None if _equal(expected, actual) else f"it changed output {name}"
        if not isinstance(actual, np.ndarray) or actual.shape != expected.shape:
            return f"it changed the shape of output {name}: {list(np.shape(actual))}, was {list(expected.shape)}"
        if expected.dtype.kind not in "biuf" and expected.dtype.name != "bfloat16":
            return None if _equal(expected, actual) else f"it changed output {name}"
        dtype = self._coarsest if self._in_float64 else expected.dtype.name
        worst, bound = compare(expected, actual).relative_l2, self._bound(dtype)
        if worst <= bound or self._as_near(feed, name, expected, actual):
            return None
        return f"it changed output {name}: relative L2 {worst:.1e}, allowed {bound:.0e}"

    def _bound(self, dtype: str) -> float:
        return max(self._tolerance * _ROUNDING.get(dtype, 1.0), _LEAST_BOUND)

    def _as_near(self, feed: int, name: str, expected: Array, actual: Array) -> bool:
        """Whether `actual` is about as near to the float64 result as `expected` is."""
        if expected.dtype.kind != "f" or not np.isfinite(expected.astype(np.float64)).all():
            return False
        frozen = self._frozen_model(self._accepted)
        exact = run_in_float64(frozen, self._frozen_feeds(frozen, feed))
        if exact is None or not isinstance(exact.get(name), np.ndarray) or exact[name].shape != expected.shape:
            return False
        before, after = (compare(exact[name], value).relative_l2 for value in (expected, actual))
        return before <= LARGEST_ROUNDING and after <= FURTHER * before

    def _frozen_model(self, model: ModelProto) -> ModelProto:
        assert self._frozen is not None
        return self._frozen.without(model)

    def _frozen_feeds(self, frozen: ModelProto, index: int) -> Feeds:
        assert self._frozen is not None
        return self._frozen.feeds(frozen, index, self._feeds[index])

    def _run(self, model: ModelProto, check: bool = False) -> list[Outputs]:
        """Outputs on every feed: of ONNX Runtime, or in float64 where it does not run the model.

        check first asks ONNX's checker. Raises what it raises, and BadInput when nothing runs the model.
        """
        frozen = self._frozen_model(model)
        feeds = [self._frozen_feeds(frozen, index) for index in range(len(self._feeds))]
        light = with_inputs(frozen)
        if check:
            checker.check_model(light.model)
        try:
            return _outputs(light.model, [{**feed, **light.weights} for feed in feeds])
        except BadInput:
            pass  # a few operators of ONNX Runtime take stored weights only
        try:
            outputs = _outputs(frozen, feeds)
        except BadInput:
            exact = [run_in_float64(frozen, feed) for feed in feeds]
            known = [entry for entry in exact if entry is not None]
            if len(known) != len(exact):
                raise
            self._in_float64 = True
            return known
        return outputs


def _outputs(model: ModelProto, feeds: Sequence[Feeds]) -> list[Outputs]:
    runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)
    try:
        return [runner.run(feed) for feed in feeds]
    finally:
        runner.close()


def coarsest_float(model: ModelProto) -> str:
    """The float type of stored tensors, inputs and outputs that rounds most; float32 where there is none."""
    numbers = {entry.data_type for entry in model.graph.initializer}
    numbers |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    known = {name: _ROUNDING[name] for number in numbers if (name := _type_name(number)) in _ROUNDING}
    return max(known, key=lambda name: known[name], default="float32")


def has_quantized_layer(model: ModelProto) -> bool:
    """Whether a convolution or a matrix product has 8-bit weights, with Q/DQ nodes or as an operator of its own."""
    stored = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return any(
        node.op_type in QUANTIZED_LAYERS or (node.op_type in LAYERS and node.input[1] in stored)
        for node in model.graph.node
    )


def quantizing_node(model: ModelProto) -> NodeProto | None:
    """The first node that makes or takes quantized integers; None in a model that is not quantized."""
    found = (node for node in model.graph.node if node.op_type in QUANTIZING)
    return next(found, None)


def _type_name(number: int) -> str:
    known = number in TensorProto.DataType.values() and number != TensorProto.UNDEFINED
    return helper.tensor_dtype_to_np_dtype(number).name if known else ""


def _equal(one: Any, other: Any) -> bool:
    """Whether values that are no numbers, or several tensors, are equal."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return (one.dtype.kind in "biuf" and compare(one, other).relative_l2 <= RELATIVE_L2) or bool(
            np.all(one == other)
        )
    return bool(one == other)


def _signature(model: ModelProto) -> list[bytes]:
    stored = {entry.name for entry in model.graph.initializer} - has_default(model)  # old files list those as inputs
    values = (*(value for value in model.graph.input if value.name not in stored), *model.graph.output)
    return [_kind(value) for value in values]


def _kind(value: ValueInfoProto) -> bytes:
    return f"{value.name}: {value.type.WhichOneof('value')} {value.type.tensor_type.elem_type}".encode()


def summary(result: PassResult) -> str:
    """A line for the log: how often a pass fired, how often it refused, and why."""
    reasons = sorted({entry.reason for entry in result.refused})
    refused = f", refused {len(result.refused)} ({'; '.join(reasons)})" if result.refused else ""
    return f"{result.name}: fired {len(result.fired)}{refused}"
