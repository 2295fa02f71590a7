"""One export, from a loaded model to a package folder: trace, passes, parity, package."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.memory import past_kept
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.base.quiet import kept_in
from rectexport.exporter.checking.parity import ParityReport
from rectexport.exporter.checking.reference import Reference, make_reference, spread
from rectexport.exporter.checking.tolerance import PRECISION_OF, QUANTIZED_L2, RELATIVE_L2, SPREAD_FACTOR, Tolerance
from rectexport.exporter.checking.windows import tiling_entries
from rectexport.exporter.engine_facts.facts import judged_engines
from rectexport.exporter.frontend.adapt import adapt_source
from rectexport.exporter.frontend.computable import computable
from rectexport.exporter.frontend.inputs import InputPlan, ShapeOptions, plan_inputs
from rectexport.exporter.frontend.outside import without_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.dialect import default_opset
from rectexport.exporter.graph.guard import coarsest_float, has_quantized_layer, quantizing_node
from rectexport.exporter.passes import PassResult
from rectexport.exporter.preprocess.wrap import Processing, prepare
from rectexport.exporter.targets import (
    TargetModel,
    all_passes,
    chosen_targets,
    compare_models,
    engine_files,
    lower_for_targets,
    require_targets,
    unproven,
)
from rectexport.exporter.tools.borders_found import border_entries
from rectexport.exporter.tools.lint import lint
from rectexport.exporter.tracing.randomness import random_calls
from rectexport.exporter.tracing.trace import Traced, name_outputs, trace
from rectexport.exporter.writing import origins, package_writer
from rectexport.exporter.writing.shared_data import write_models
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_directory, replaced_file
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.errors import BadInput, Option, ParityError, UsageError
from rectexport.runtime.package.folder import MODEL, ORIGINS, REWRITES, WEIGHTS, Package, add_files
from rectexport.runtime.package.manifest import DEPENDENT, FILE_NAME
from rectexport.runtime.package.structure import constants


@dataclass(repr=False)
class Exported:
    """A finished export. passes and nodes are those of model.onnx.

    unproven says why a target is not proven; empty where a proof on each passed. remarks say what was taken or assumed
    when the model was loaded.
    """

    package: Package
    passes: list[PassResult]
    parity: ParityReport
    nodes: tuple[int, int]
    unproven: str = ""
    remarks: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Exported {self.package!r}, {self.nodes[0]} → {self.nodes[1]} nodes, {self.parity!r}>"


def processing(options: ExportOptions) -> Processing:
    """What stands around the model."""
    return Processing(options.image_input, options.answer, options.preprocess, options.postprocess)


def run_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions, log: Log) -> Exported:
    """Export `source` into the folder `out`, which appears whole or not at all.

    Raises BadInput, UsageError, MissingDependency, and ParityError when the package disagrees with the source
    model; then the tensors that differ are kept in OUT.failed.npz.
    """
    if options.report:
        require("jinja2")
    source = computable(source)
    remarks = source.remarks
    source = prepare(source, shapes, processing(options))
    plan = plan_inputs(source, shapes)
    targets = chosen_targets(options)
    options = replace(options, target=",".join(targets))
    judged_engines(options.tensorrt_version)  # raises for a version that is none
    with past_kept(), replaced_directory(out, FILE_NAME) as folder:
        with log.step("trace"), kept_in(out.with_name(f"{out.name}.failed.log")):
            source, lines = adapt_source(source, [entry.example for entry in plan.inputs])
            for line in lines:
                log.say(line)
            traced = trace(
                source,
                plan.inputs,
                options.graph_opset,
                options.dynamic_shapes,
                timeout=options.trace_timeout,
                say=log.detail,
            )
            if options.output_names:
                traced = name_outputs(traced, options.output_names)
            _check_bounds(options, traced.model)
            _check_size(options, traced)
            if options.int8 is not None:
                _check_unquantized(traced.model)
            opset = default_opset(traced.model)  # an ONNX file keeps its own, TorchScript ends at 20
            log.say(f"{source.description}: {len(traced.model.graph.node)} nodes, opset {opset}")
            log.say(", ".join(_describe(entry) for entry in traced.inputs))
            log.say(f"outputs {', '.join(value.name for value in traced.model.graph.output)}")
            for path, value in constants(traced.structure) if traced.structure else ():
                log.say(f"{path} is {value!r}: no output of the package, but recorded in its manifest")
        with log.step("passes"):
            models = lower_for_targets(traced, targets, options, log)
            _lint(models, options.tensorrt_version, log)
        reference, quantization = make_reference(source, traced), None
        with log.step("parity"), _compared_in(folder, options) as place:
            _write_models(place, models, source, options)
            if options.bf16:
                log.say("ONNX Runtime's CPU has no bfloat16 convolution: every rounding to it is emulated in float32")
            floating, tolerance = _floating(options), _tolerance(source, options, reference, traced)
            report = compare_models(place, models, reference, traced, tolerance, floating)
            for proof in report.proofs:
                log.say(proof.describe())
        if report.rows.verdict == DEPENDENT:
            log.say(f"rows dependent: {report.rows.reason}; servers run each request alone")
        if not report.passed:
            raise ParityError(_failure(report, out) + _randomness(traced) + _frozen_size(report, source, traced.steps))
        if options.int8 is not None:
            from rectexport.exporter.int8 import Int8Stage  # few exports need it, and it takes a while

            with log.step("int8"):
                given = source.example_inputs is not None or shapes.load is not None
                stage = Int8Stage(folder, reference, traced, options, _notes(source, options), given, log)
                models, report, quantization = stage.run(models, report.rows)
            if not report.passed:
                raise ParityError(_failure(report, out))
        require_targets(targets, report, out)
        with log.step("package"):
            first = models[0]
            changes = first.changes.as_dict(traced.model, first.model, source.parameters)
            package_writer.write_json(folder / REWRITES, changes)
            package_writer.write_json(folder / ORIGINS, _origins(models, options))
            _write(folder, models, source, traced, report, options, quantization, log)
            written = Package.open(folder)  # a package that cannot be read must not replace one that can
            if options.report:
                _add_report(written, out.resolve().name)
    nodes = (len(traced.model.graph.node), len(first.model.graph.node))
    return Exported(Package.open(out), first.results, report, nodes, unproven(targets, report), remarks)


def _lint(models: Sequence[TargetModel], version: str | None, log: Log) -> None:
    """Log what is known against TensorRT, which cannot run here. Raises BadInput where no version takes the model.

    version: the only one that matters, None for all.
    """
    for entry in (entry for entry in models if "tensorrt" in entry.targets):
        found = lint(entry.model, "tensorrt", version)
        for finding in found.findings:
            (log.detail if finding.verdict == "unknown" else log.say)(finding.describe())
        if found.certain is not None and version is not None:
            way_out = ". Replace the operator, or export for any version of TensorRT, without "
            raise BadInput(found.certain.describe() + way_out, Option("tensorrt_version"))
        if found.certain is not None:
            way_out = ". Replace the operator, or export for another engine: "
            raise BadInput(found.certain.describe() + way_out, Option("target", "onnxruntime"))


def _origins(models: Sequence[TargetModel], options: ExportOptions) -> dict[str, Any]:
    """The document of origins.json."""
    stage = origins.INT8 if options.int8 is not None else ""
    rows = {entry.file: entry.origins.rows(entry.model, stage) for entry in models}
    return origins.document(rows, models[0].origins.modules)


def _write_models(folder: Path, models: Sequence[TargetModel], source: Source, options: ExportOptions) -> None:
    write_models(folder, {entry.file: entry.model for entry in models}, _notes(source, options), source.outside)


def _add_report(package: Package, name: str) -> None:
    from rectexport.runtime import report

    with scratch_folder() as folder:
        report.write_report(package, folder / report.FILE_NAME, name)
        add_files(package.path, {report.FILE_NAME: folder / report.FILE_NAME})


def describe_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions) -> list[str]:
    """What run_export would do, without tracing or writing. Raises as it does for inputs that do not fit."""
    plan = plan_inputs(prepare(source, shapes, processing(options)), shapes)
    passes = ", ".join(entry.name for entry in all_passes(options))
    targets = ", ".join(chosen_targets(options))
    return [
        *(f"input {_describe(entry)}" for entry in plan.inputs),
        f"opset {options.graph_opset}, {options.precision}, for {targets}, passes: {passes}",
        f"would write {out}",
    ]


def _check_unquantized(model: ModelProto) -> None:
    node = quantizing_node(model)
    if node is not None:
        raise BadInput(
            f"{node.op_type} {node.name or node.output[0]}: the model is quantized already; leave out ",
            Option("int8"),
            ", and it is exported with its own quantization",
        )


def _check_size(options: ExportOptions, traced: Traced) -> None:
    """Lower precision rewrites every weight, and those beyond 2 GB are not read."""
    if traced.stored and (options.int8 is not None or options.precision != "fp32"):
        name = "int8" if options.int8 is not None else options.precision
        raise UsageError(Option(name, True), ": not for a model with more than 2 GB of weights; export it in float32")


def _check_bounds(options: ExportOptions, model: ModelProto) -> None:
    outputs = [value.name for value in model.graph.output]
    for option, bounds in (("atol", options.atol), ("rtol", options.rtol)):
        for name in bounds:
            if name and name not in outputs:
                raise UsageError(Option(option), f" {name}: no such output; the model has {', '.join(outputs)}")


def _describe(entry: InputPlan) -> str:
    bounds = entry.range
    if not bounds.dynamic_axes:
        return f"{entry.name} {format_shape(bounds.opt)} {entry.example.dtype}"
    steps = f" in steps of {format_shape(bounds.step)}" if bounds.step else ""
    return f"{entry.name} {format_shape(bounds.min)} .. {format_shape(bounds.max)}{steps} {entry.example.dtype}"


@contextmanager
def _compared_in(folder: Path, options: ExportOptions) -> Iterator[Path]:
    """Where models are written to be compared: the package, or elsewhere where they are quantized afterwards."""
    if options.int8 is None:
        yield folder
        return
    with scratch_folder() as scratch:
        yield scratch


def _floating(options: ExportOptions) -> ExportOptions:
    """For the comparison of the graph in floating point: before it is quantized, it is float32."""
    return options if options.int8 is None else replace(options, int8=None, fp16=False)


def _tolerance(source: Source, options: ExportOptions, reference: Reference, traced: Traced) -> Tolerance:
    """Of the floating-point graph; elementwise bounds are for the package, so not for what is quantized afterwards."""
    precision = "fp32" if options.int8 is not None else options.precision
    if precision == "fp32" and source.kind == "onnx":
        precision = PRECISION_OF.get(coarsest_float(source.model), precision)
    default = RELATIVE_L2[precision]
    if has_quantized_layer(traced.model):
        feeds = {entry.name: entry.example for entry in traced.inputs}
        default = max(QUANTIZED_L2, SPREAD_FACTOR * spread(reference, feeds))
    asked = source.tolerances.get("relative_l2", default)
    if options.int8 is not None:
        return Tolerance(asked)
    return Tolerance(asked if precision == "fp32" else max(asked, default), options.atol, options.rtol)


def _notes(source: Source, options: ExportOptions) -> dict[str, str]:
    return {
        "rectexport.source": source.path.name if source.path else source.name,
        "rectexport.description": source.description,
        "rectexport.precision": options.precision,
        "rectexport.rectify": options.rectify,
    }


def _failure(report: ParityReport, out: Path) -> str:
    kept = out.with_name(f"{out.name}.failed.npz")
    with replaced_file(kept) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **report.kept)  # type: ignore[arg-type]
    file, case = next((file, case) for file, case in report.all_cases() if case.failures)
    which = "the package" if file == MODEL else f"{file}, the package's model for that engine,"
    return (
        f"{which} disagrees with {report.reference} (case {case.label}): {'; '.join(case.failures)}. "
        f"Inputs and both outputs are kept in {kept}; nothing was written to {out}"
    )


def _randomness(traced: Traced) -> str:
    drawn = random_calls(traced.program)
    return (
        f". forward draws random numbers ({', '.join(drawn)}), so no two answers agree: leave that out" if drawn else ""
    )


def _frozen_size(report: ParityReport, source: Source, steps: str) -> str:
    """What to do where only other sizes than the usual ones differ: then the trace took something as fixed."""
    first = report.cases[0] if report.cases else None
    if source.kind == "onnx" or first is None or first.failures:
        return ""
    other = next((case for case in report.cases if case.failures and case.shapes != first.shapes), None)
    if other is None or other.label not in ("min", "max", "odd"):
        return ""
    way = (
        f"The sizes in steps share it: {steps}, or a multiple of a torch.export.Dim in dynamic_shapes"
        if steps
        else "Compute it with tensors, or export one package for each size"
    )
    return f". At the usual sizes it agrees: the trace took something that depends on a size as fixed. {way}"


def _further(
    traced: Traced, models: Sequence[TargetModel], report: ParityReport, options: ExportOptions
) -> dict[str, Any]:
    """Fields of the manifest that only some packages have."""
    fields = {
        "structure": traced.structure,
        "models": engine_files(models),
        "passes_of": {entry.file: [result.as_dict() for result in entry.results] for entry in models[1:]},
        "quantized": has_quantized_layer(traced.model),
        "tiling": tiling_entries(traced.model),
        "borders": [] if traced.stored else border_entries(traced.model),
        "rows": report.rows.verdict,
        **processing(options).recorded(),
    }
    return {name: value for name, value in fields.items() if value}


def _write(
    folder: Path,
    models: Sequence[TargetModel],
    source: Source,
    traced: Traced,
    report: ParityReport,
    options: ExportOptions,
    quantization: Mapping[str, Any] | None,
    log: Log,
) -> None:
    package_writer.write_goldens(folder, report.goldens, report.more_goldens)
    package_writer.write_json(folder / "parity.json", report.as_dict())
    if options.command:
        package_writer.write_reproduce(folder, options.command)
    (folder / "export.log").write_text(
        "\n".join([*log.lines, f"python {sys.version.split()[0]}", ""]), encoding="utf-8"
    )
    package_writer.write_manifest(
        folder,
        without_inputs(models[0].model, traced.stored),
        source,
        traced.inputs,
        models[0].results,
        report.tolerance.as_dict(),
        options.recorded(),
        dict(log.steps),
        [proof.as_dict() for proof in report.proofs],
        {**_further(traced, models, report, options), **({"int8": strict(quantization)} if quantization else {})},
    )
    for name in (*(entry.file for entry in models), WEIGHTS):
        if (folder / name).is_file():
            log.say(f"{name} {(folder / name).stat().st_size / 1e6:.1f} MB")
