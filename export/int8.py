"""The int8 stage of an export: quantize the lowered model for each target, prove it on each engine, record it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, Int8
from rectexport.exporter.checking.engines import installed_engines, open_engine
from rectexport.exporter.checking.parity import ParityReport
from rectexport.exporter.checking.reference import Reference, Remembered
from rectexport.exporter.checking.rows import show_rows
from rectexport.exporter.checking.tolerance import Tolerance
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.precision import half
from rectexport.exporter.quantize.calibration import Items, check, split
from rectexport.exporter.quantize.judging import EngineResult, faults, judge
from rectexport.exporter.quantize.measuring import (
    LayerNoise,
    Outputs,
    layer_noise,
    model_outputs,
    region_snr,
    run_items,
    snr_db,
)
from rectexport.exporter.quantize.quantizer import Quantized, Quantizer
from rectexport.exporter.quantize.ran_in_int8 import float_layers, layer_nodes
from rectexport.exporter.quantize.speed import Speed, compare_speed
from rectexport.exporter.targets import TargetModel, compare_models, file_of, identity, lower_for_targets
from rectexport.exporter.tracing.trace import Traced
from rectexport.exporter.writing.shared_data import write_models
from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.processor import processor
from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.batching.rows import RowVerdict
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import Option, ParityError
from rectexport.runtime.evaluation.examples import Examples, PixelLayout, batch_rows, open_examples, unused_scaling
from rectexport.runtime.evaluation.metrics import numbered_alike
from rectexport.runtime.package.folder import MODEL
from rectexport.runtime.package.manifest import INDEPENDENT, TensorEntry

#: A package's tolerance is this many times the distance that was measured, and no less than the second.
_SLACK, _LEAST_TOLERANCE = 2.0, 1e-3
#: How far an inner tensor and its regions may be off, as a multiple of the noise in its interior, which a wrong border
#: does not add to. Rectified corners of one image have up to 2.3 times that noise (RF-ResNet-50); a wrong border is
#: off by a third of its values and more.
_LAYER_SLACK = 4.0


@dataclass
class _Proven:
    """One target's model with what was measured. meant_snr: of the Q/DQ nodes' own semantics, in dB."""

    quantized: Quantized
    meant_snr: float
    noise: Sequence[LayerNoise]
    engines: list[EngineResult] = field(default_factory=list)
    speed: Speed | None = None


@dataclass
class Int8Stage:
    """What the stage works on. given: whether the example inputs are the model's own and not drawn."""

    folder: Path
    reference: Reference
    traced: Traced
    options: ExportOptions
    notes: Mapping[str, str]
    given: bool
    log: Log

    @property
    def _asked(self) -> Int8:
        assert self.options.int8 is not None
        return self.options.int8

    def run(
        self, models: Sequence[TargetModel], floating: RowVerdict
    ) -> tuple[tuple[TargetModel, ...], ParityReport, dict[str, Any]]:
        """The quantized models, written into the folder; their comparison; and the manifest's entry.

        floating   whether rows are independent before quantization

        Raises BadInput for calibration data that does not fit, and ParityError for an engine that does not run int8, or
        whose answers are too far off.
        """
        entries = [_entry(plan) for plan in self.traced.inputs]
        rows = batch_rows(entries)
        examples = self._examples(entries)
        calibration, hold_out = self._data(examples)
        shared = Remembered(self.reference)
        expected = run_items(shared.outputs, hold_out, rows)
        if hold_out.targets is not None and not numbered_alike(examples.classes, expected[0]):
            hold_out = replace(hold_out, targets=None)
            self.log.say(
                f"accuracy not measured: {examples.classes} folders of images, and the output has "
                f"{expected[0].shape[1]} classes; give all their names with labels"
            )
        proven: list[tuple[TargetModel, _Proven]] = []
        for entry in models:
            quantizer = Quantizer(entry.model, calibration, rows, self._asked, self.log)
            for target in entry.targets:
                found = self._rest(quantizer.run(target), entry, calibration.rows(0, rows[0]))
                proven.append((entry, self._measured(entry.model, found, expected, hold_out, rows)))
        written = _as_targets(proven)
        write_models(self.folder, {entry.file: entry.model for entry in written}, self.notes)
        for entry in written:
            for _, result in proven:
                if result.quantized.target in entry.targets:
                    self._prove(entry, result, expected, hold_out, rows)
                    self._time(entry, result)
        report = self._compare(written, proven, shared, hold_out, rows)
        report.rows = self._rows(written, floating, report.tolerance.relative_l2)
        return written, report, self._document(written, proven, calibration, hold_out, examples.name)

    def _examples(self, entries: Sequence[TensorEntry]) -> Examples:
        asked = self._asked
        scaling = ImageScaling(tuple(asked.mean), tuple(asked.std))
        unused = unused_scaling(asked.calibrate, entries, scaling)
        if unused:
            self.log.say(f"mean and std are not used: {unused}")
        image = self.options.image_input
        layout = None if image is None else PixelLayout.of(image.recorded())
        return open_examples(asked.calibrate, entries, asked.labels, scaling, layout)

    def _data(self, examples: Examples) -> tuple[Items, Items]:
        calibration, hold_out = split(examples, self._asked.images)
        check(calibration, self.traced.inputs, self.given, examples.name)
        check(hold_out, self.traced.inputs, False, examples.name)
        self.log.say(f"{len(calibration)} items of {examples.name} calibrate, {len(hold_out)} others check the result")
        return calibration, hold_out

    def _rest(self, found: Quantized, entry: TargetModel, feeds: Mapping[str, Array]) -> Quantized:
        """With fp16: what is not int8 in float16."""
        if not self.options.fp16:
            return found
        model, result = rest_in_half(found.model, feeds)
        entry.results.append(result)
        self.log.detail(f"{result.name}: {', '.join(result.fired)}; {len(result.refused)} nodes stay in float32")
        return replace(found, model=model)

    def _measured(
        self, model: ModelProto, found: Quantized, expected: Outputs, hold_out: Items, rows: tuple[int, int]
    ) -> _Proven:
        """The Q/DQ model as its nodes say, against the float reference."""
        meant = snr_db(expected, model_outputs(found.model, hold_out, rows))
        tensors = [name for node in found.model.graph.node for name in node.output]
        noise = layer_noise(model, found.model, tensors, hold_out, rows)
        forms = ", ".join(f"{count} {form}" for form, count in Counter(found.placement.forms.values()).items())
        regions = ", ".join(f"{name} {value:.1f}" for name, value in region_snr(noise).items())
        self.log.say(
            f"{found.target}: {len(found.layers)} layers in int8 ({forms}), {len(found.kept)} in float, "
            f"{found.bits}-bit weights; {meant:.1f} dB on the hold-out, worst layer by region {regions}"
        )
        for name, reason in found.kept.items():
            self.log.detail(f"{name} stays in float: {reason}")
        return _Proven(found, meant, noise)

    def _prove(
        self, entry: TargetModel, result: _Proven, expected: Outputs, hold_out: Items, rows: tuple[int, int]
    ) -> None:
        """Run the engine itself. Raises ParityError where it differs or does not run int8."""
        target = result.quantized.target
        if target not in installed_engines():
            self.log.say(f"{target} is not installed here: its int8 was computed by ONNX Runtime as the nodes say")
            return
        path = self.folder / entry.file
        meant = model_outputs(entry.model, hold_out, rows)
        runner = open_engine(target, path, [value.name for value in entry.model.graph.output])
        try:
            actual = run_items(lambda feeds: list(runner.run(feeds).values()), hold_out, rows)
        finally:
            runner.close()
        in_float = float_layers(target, path, layer_nodes(entry.model))
        answer = self.options.answer.kind if self.options.answer is not None else ""
        found = judge(target, expected, meant, actual, hold_out.targets, in_float, answer)
        result.engines.append(found)
        self.log.say(found.describe())
        bad = faults(found, result.meant_snr, self._asked.min_snr)
        if bad:
            raise ParityError(
                f"int8 on {target}: it {'; it '.join(bad)}. Nothing was written; keep layers in float with ",
                Option("keep_float"),
                ", or give more calibration data",
            )

    def _time(self, entry: TargetModel, result: _Proven) -> None:
        """Compare with float32 on this machine. Raises ParityError where int8 is not faster, unless it is forced."""
        target = result.quantized.target
        if target not in installed_engines():
            return
        options = replace(self.options, int8=None, fp16=False, target=target)
        (floating,) = lower_for_targets(self.traced, (target,), options, Log())
        inputs = [TensorSpec(plan.name, plan.example.dtype.name, plan.range.opt) for plan in self.traced.inputs]
        found = compare_speed(target, self.folder / entry.file, floating.model, inputs, self.log.advance)
        result.speed = found
        self.log.say(f"{target}: {found.describe()}")
        if not found.faster and not self._asked.force:
            raise ParityError(
                f"int8 on {target} is not faster than float32 on this machine: {found.describe()}. Nothing was "
                "written; ",
                Option("force", True),
                " writes it nevertheless, and without int8 the package is exact",
            )

    def _compare(
        self,
        written: Sequence[TargetModel],
        proven: Sequence[tuple[TargetModel, _Proven]],
        reference: Reference,
        hold_out: Items,
        rows: tuple[int, int],
    ) -> ParityReport:
        """The package's goldens and proofs: items of the hold-out, within twice the distance that was measured.

        Inner tensors may be farther off, as outputs average their noise; their bounds come from their own noise.
        """
        feeds = hold_out.rows(0, rows[0])
        ratios = [result.meant_snr for _, result in proven]
        ratios += [engine.snr for _, result in proven for engine in result.engines]
        worst = max(10 ** (-ratio / 20) for ratio in ratios)
        bound = Tolerance(max(_SLACK * worst, _LEAST_TOLERANCE), self.options.atol, self.options.rtol)
        bound = replace(bound, layers=_layer_bounds(proven, bound))
        cases: dict[str, Mapping[str, Array]] = {"hold-out": feeds}
        return compare_models(self.folder, written, reference, self.traced, bound, self.options, cases)

    def _rows(self, written: Sequence[TargetModel], floating: RowVerdict, tolerance: float) -> RowVerdict:
        """Whether rows are independent: before quantization, and on ONNX Runtime in every quantized model."""
        found = floating
        for entry in written:
            if found.verdict == INDEPENDENT:
                runner = OnnxRuntimeRunner(self.folder / entry.file)
                try:
                    found = show_rows(runner, self.traced.inputs, tolerance)
                finally:
                    runner.close()
        return found

    def _document(
        self,
        written: Sequence[TargetModel],
        proven: Sequence[tuple[TargetModel, _Proven]],
        calibration: Items,
        hold_out: Items,
        name: str,
    ) -> dict[str, Any]:
        """The manifest's entry `int8`."""
        files = {target: entry.file for entry in written for target in entry.targets}
        asked = self._asked
        return {
            "calibration": {
                "method": asked.method,
                "data": Path(name).name,
                "items": len(calibration),
                "sha256": calibration.sha256,
                "held_out": len(hold_out),
                "held_out_sha256": hold_out.sha256,
            },
            "processor": processor().as_dict(),
            "targets": {
                result.quantized.target: _target_entry(result, files[result.quantized.target]) for _, result in proven
            },
        }


def rest_in_half(model: ModelProto, feeds: Mapping[str, Array]) -> tuple[ModelProto, PassResult]:
    """A quantized model with what is not int8 in float16; Q/DQ nodes and layers in int8 stay: their scales are float32.

    feeds: an example input. Raises MissingDependency as passes.precision.half does.
    """
    pairs = [node.name for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return half.run(model, [feeds], {*pairs, *layer_nodes(model)})


def _layer_bounds(proven: Sequence[tuple[TargetModel, _Proven]], bound: Tolerance) -> dict[str, float]:
    """Bounds of the inner tensors whose noise needs more than the outputs' bound gives them."""
    found: dict[str, float] = {}
    for _, result in proven:
        for entry in result.noise:
            allowed = _LAYER_SLACK * float(10 ** (-entry.regions.get("interior", entry.snr) / 20))
            if isfinite(allowed) and allowed > max(bound.of_layer(entry.tensor), found.get(entry.tensor, 0.0)):
                found[entry.tensor] = allowed
    return found


def _target_entry(result: _Proven, file: str) -> dict[str, Any]:
    found = result.quantized
    return {
        "file": file,
        "layers": {name: found.placement.forms[name] for name in found.layers},
        "float": dict(found.kept),
        "weights": {"bits": found.bits, "reason": found.why_bits},
        "tensors": {name: entry.as_dict() for name, entry in found.parameters.items()},
        "snr_db": result.meant_snr,
        "regions": region_snr(result.noise),
        "noise": [entry.as_dict() for entry in result.noise],
        "engines": {engine.engine: engine.as_dict() for engine in result.engines},
        **({} if result.speed is None else {"speed": result.speed.as_dict()}),
    }


def _as_targets(proven: Sequence[tuple[TargetModel, _Proven]]) -> tuple[TargetModel, ...]:
    """A file for each target; targets with equal models share one."""
    found: dict[bytes, TargetModel] = {}
    for entry, result in proven:
        target, model = result.quantized.target, result.quantized.model
        key = identity(model)
        if key in found:
            found[key].targets += (target,)
        else:
            file = file_of(target) if found else MODEL
            found[key] = TargetModel(file, (target,), model, entry.results, entry.changes, entry.origins)
    return tuple(found.values())


def _entry(plan: InputPlan) -> TensorEntry:
    """An input as the manifest will have it."""
    bounds = plan.range
    shape = tuple(
        f"{plan.name}_{axis}" if axis in bounds.dynamic_axes else size for axis, size in enumerate(bounds.opt)
    )
    return TensorEntry(plan.name, plan.example.dtype.name, shape, bounds if bounds.dynamic_axes else None)
