"""One export, from a loaded model to a package folder: trace, passes, parity, package."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.checking.engines import CPU_ENGINES, ONNXRUNTIME, PRECISIONS, EngineCheck, installed_engines
from rectexport.exporter.checking.parity import ParityReport, check_parity, parity_cases
from rectexport.exporter.checking.reference import Reference, make_reference
from rectexport.exporter.checking.tolerance import RELATIVE_L2, Tolerance
from rectexport.exporter.frontend.adapt import adapt_source
from rectexport.exporter.frontend.inputs import InputPlan, ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.dialect import default_opset
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import Code, Pass, PassContext, PassPipeline, PassResult, check_finished, select_passes
from rectexport.exporter.passes.order import PRECISION
from rectexport.exporter.passes.precision import bfloat16
from rectexport.exporter.passes.summary import summarize
from rectexport.exporter.preprocess.wrap import Processing, prepare
from rectexport.exporter.tracing.randomness import random_calls
from rectexport.exporter.tracing.trace import Traced, name_outputs, trace
from rectexport.exporter.writing import package_writer
from rectexport.exporter.writing.rewrites import Rewrites
from rectexport.runtime.base.environment import missing, require
from rectexport.runtime.base.files import replaced_directory, replaced_file
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.errors import BadInput, Option, ParityError, UsageError
from rectexport.runtime.package.folder import MODEL, REWRITES, Package, add_files
from rectexport.runtime.package.manifest import FILE_NAME
from rectexport.runtime.package.proofs import AGREES
from rectexport.runtime.package.structure import constants
from rectexport.runtime.report import FILE_NAME as REPORT
from rectexport.runtime.report import write_report


@dataclass(repr=False)
class Exported:
    """A finished export. unproven says why the target is not proven; empty where a proof on it passed."""

    package: Package
    passes: list[PassResult]
    parity: ParityReport
    nodes: tuple[int, int]
    unproven: str = ""

    def __repr__(self) -> str:
        return f"<Exported {self.package!r}, {self.nodes[0]} → {self.nodes[1]} nodes, {self.parity!r}>"


def all_passes(options: ExportOptions) -> tuple[Pass, ...]:
    """The passes that an export with these options runs, in order."""
    return tuple(select_passes(pass_context(options), _pipeline(options).passes))


def pass_context(options: ExportOptions, feeds: Sequence[Mapping[str, Array]] = ()) -> PassContext:
    """What the passes depend on; feeds are example inputs, for float16."""
    return PassContext(options.target, options.rectify, options.precision, feeds=feeds)


def processing(options: ExportOptions) -> Processing:
    """What stands around the model."""
    return Processing(options.image_input, options.answer, options.preprocess, options.postprocess)


def _pipeline(options: ExportOptions) -> PassPipeline:
    return options.passes or PassPipeline.default()


def run_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions, log: Log) -> Exported:
    """Export `source` into the folder `out`, which appears whole or not at all.

    Raises BadInput, UsageError, MissingDependency, and ParityError when the package disagrees with the source
    model; then the tensors that differ are kept in OUT.failed.npz.
    """
    if options.report:
        require("jinja2")
    source = prepare(source, shapes, processing(options))
    plan = plan_inputs(source, shapes)
    with replaced_directory(out, FILE_NAME) as folder:
        with log.step("trace"):
            source, swaps = adapt_source(source)  # the reference, too, is what we put for third-party modules
            for swap in swaps:
                log.say(f"adapted {swap}")
            traced = trace(source, plan.inputs, options.graph_opset, options.dynamic_shapes)
            if options.output_names:
                traced = name_outputs(traced, options.output_names)
            _check_bounds(options, traced.model)
            opset = default_opset(traced.model)  # an ONNX file keeps its own, TorchScript ends at 20
            log.say(f"{source.description}: {len(traced.model.graph.node)} nodes, opset {opset}")
            log.say(", ".join(_describe(entry) for entry in traced.inputs))
            log.say(f"outputs {', '.join(value.name for value in traced.model.graph.output)}")
            for path, value in constants(traced.structure) if traced.structure else ():
                log.say(f"{path} is {value!r}: no output of the package, but recorded in its manifest")
        rewrites = Rewrites()
        with log.step("passes"):
            model, results = _lower(traced, options, rewrites, log)
            log.say(f"{summarize(results)}; {len(traced.model.graph.node)} nodes before, {len(model.graph.node)} after")
        with log.step("parity"):
            path = package_writer.write_model(folder, model, _notes(source, options))
            reference, tolerance = make_reference(source, traced), _tolerance(source, options)
            if options.bf16:
                log.say("ONNX Runtime's CPU has no bfloat16 convolution: every rounding to it is emulated in float32")
                report = _check_emulated(model, reference, traced.inputs, tolerance)
            else:
                report = _check_on_engines(model, path, reference, traced.inputs, tolerance, options)
            for proof in report.proofs:
                log.say(proof.describe())
        if not report.passed:
            raise ParityError(_failure(report, out) + _randomness(traced))
        _require_target(options.target, report, out)
        with log.step("package"):
            changes = rewrites.as_dict(traced.model, model, source.parameters)
            package_writer.write_json(folder / REWRITES, changes)
            _write(folder, model, source, traced, results, report, options, log)
            written = Package.open(folder)  # a package that cannot be read must not replace one that can
            if options.report:
                _add_report(written, out.resolve().name)
    nodes = (len(traced.model.graph.node), len(model.graph.node))
    return Exported(Package.open(out), results, report, nodes, _unproven(options.target, report))


def _add_report(package: Package, name: str) -> None:
    with scratch_folder() as folder:
        write_report(package, folder / REPORT, name)
        add_files(package.path, {REPORT: folder / REPORT})


def describe_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions) -> list[str]:
    """What run_export would do, without tracing or writing. Raises as it does for inputs that do not fit."""
    plan = plan_inputs(prepare(source, shapes, processing(options)), shapes)
    passes = ", ".join(entry.name for entry in all_passes(options))
    return [
        *(f"input {_describe(entry)}" for entry in plan.inputs),
        f"opset {options.graph_opset}, {options.precision}, for {options.target}, passes: {passes}",
        f"would write {out}",
    ]


def _lower(traced: Traced, options: ExportOptions, rewrites: Rewrites, log: Log) -> tuple[ModelProto, list[PassResult]]:
    cases = parity_cases(traced.inputs)
    feeds = [cases[label] for label in ("example", "min", "odd") if label in cases]
    context = pass_context(options, feeds[:1])
    passes = select_passes(context, _pipeline(options).passes)
    exact, rounding = _split([rewrites.watched(entry) for entry in passes])
    model, results = run_passes(infer_shapes(traced.model), exact, feeds, log, options.guard)
    _check_fold(options, results)
    check_finished(model, context, results)
    for entry in rounding:
        model, result = entry.run(model)
        results.append(result)
        log.detail(f"{result.name}: {', '.join(result.fired)}; {len(result.refused)} nodes stay in float32")
    return model, results


def _split(passes: Sequence[Pass]) -> tuple[list[Pass], list[Pass]]:
    """The passes that keep values, and those from the first one on that rounds them: the guard cannot compare these."""
    first = next((index for index, entry in enumerate(passes) if entry.stage == PRECISION), len(passes))
    return list(passes[:first]), list(passes[first:])


def _check_fold(options: ExportOptions, results: Sequence[PassResult]) -> None:
    dynamic = any(entry.code is Code.DYNAMIC_SIZE for result in results for entry in result.refused)
    if options.rectify == "fold" and dynamic:
        raise BadInput(
            Option("rectify", "fold"),
            ": H, W are dynamic, so r is no constant; use ",
            Option("rectify", "auto"),
            " or ",
            Option("rectify", "graph"),
        )


def _check_on_engines(
    model: ModelProto,
    path: Path,
    reference: Reference,
    inputs: Sequence[InputPlan],
    tolerance: Tolerance,
    options: ExportOptions,
) -> ParityReport:
    """Compare the model on every CPU engine that is installed."""
    checks = [EngineCheck(name, PRECISIONS[options.precision]) for name in installed_engines()]
    outputs = [value.name for value in model.graph.output]
    for check in checks:
        if check.name != ONNXRUNTIME:
            check.open(path, outputs)
    try:
        return check_parity(model, path, reference, inputs, tolerance, engines=checks)
    finally:
        for check in checks:
            check.close()


def _require_target(target: str, report: ParityReport, out: Path) -> None:
    """A package for a target that disagrees on it is not written."""
    proof = report.proof_of(target)
    if proof is not None and proof.verdict != AGREES:
        raise ParityError(
            f"the package does not work on its target: {proof.describe()}. Nothing was written to {out}; ",
            Option("target", ONNXRUNTIME),
            " makes a package that runs on ONNX Runtime",
        )


def _unproven(target: str, report: ParityReport) -> str:
    if target == "portable" or report.proof_of(target) is not None:
        return ""
    if target in CPU_ENGINES:
        return f"not proven on {target}: {missing(target) or 'it cannot run this precision here'}"
    return f"not proven on {target}: rectexport build, on a machine with a GPU, compares the engine that it makes"


def _check_emulated(
    model: ModelProto, reference: Reference, inputs: Sequence[InputPlan], tolerance: Tolerance
) -> ParityReport:
    with scratch_folder() as folder:
        emulated = bfloat16.emulate(model)
        path = package_writer.write_model(folder, emulated, {})
        report = check_parity(emulated, path, reference, inputs, tolerance)
    report.backend = "onnxruntime CPU, bfloat16 emulated in float32"
    return report


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
    return f"{entry.name} {format_shape(bounds.min)} .. {format_shape(bounds.max)} {entry.example.dtype}"


def _tolerance(source: Source, options: ExportOptions) -> Tolerance:
    default = RELATIVE_L2[options.precision]
    asked = source.tolerances.get("relative_l2", default)
    return Tolerance(asked if options.precision == "fp32" else max(asked, default), options.atol, options.rtol)


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
    case = next(case for case in report.cases if case.failures)
    return (
        f"the package disagrees with {report.reference} (case {case.label}): {'; '.join(case.failures)}. "
        f"Inputs and both outputs are kept in {kept}; nothing was written to {out}"
    )


def _randomness(traced: Traced) -> str:
    drawn = random_calls(traced.program)
    return (
        f". forward draws random numbers ({', '.join(drawn)}), so no two answers agree: leave that out" if drawn else ""
    )


def _write(
    folder: Path,
    model: ModelProto,
    source: Source,
    traced: Traced,
    results: Sequence[PassResult],
    report: ParityReport,
    options: ExportOptions,
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
        model,
        source,
        traced.inputs,
        results,
        report.tolerance.as_dict(),
        options.recorded(),
        dict(log.steps),
        [proof.as_dict() for proof in report.proofs],
        {**({"structure": traced.structure} if traced.structure else {}), **processing(options).recorded()},
    )
    log.say(f"{MODEL} {(folder / MODEL).stat().st_size / 1e6:.1f} MB")
