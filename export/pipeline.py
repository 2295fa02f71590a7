"""One export, from a loaded model to a package folder: trace, passes, parity, package."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from rectexport.exporter import half, package_writer
from rectexport.exporter.adapt import adapt_source
from rectexport.exporter.dialect import default_opset
from rectexport.exporter.guard import run_passes
from rectexport.exporter.inputs import InputPlan, ShapeOptions, plan_inputs
from rectexport.exporter.log import Log
from rectexport.exporter.lowering import DEFAULT_TARGET, OPERATORS, TARGETS, Lowering, load_costs
from rectexport.exporter.lowering import rectify as rectify_forms
from rectexport.exporter.lowering.shapes import infer_shapes
from rectexport.exporter.parity import ParityReport, check_parity, parity_cases
from rectexport.exporter.passes import RECTIFY_FORMS, Pass, PassResult, select_passes
from rectexport.exporter.raising import RAISING
from rectexport.exporter.reference import make_reference
from rectexport.exporter.source import Source
from rectexport.exporter.tolerance import RELATIVE_L2, Tolerance
from rectexport.exporter.trace import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET, Traced, trace
from rectexport.runtime.errors import BadInput, ParityError, UsageError
from rectexport.runtime.files import replaced_directory, replaced_file
from rectexport.runtime.manifest import FILE_NAME
from rectexport.runtime.package import MODEL, Package
from rectexport.runtime.shapes import format_shape


@dataclass(frozen=True)
class ExportOptions:
    """How to export; the defaults suit most models."""

    opset: int = DEFAULT_OPSET
    rectify: str = "auto"
    target: str = DEFAULT_TARGET
    fp16: bool = False
    atol: Mapping[str, float] = field(default_factory=dict)
    rtol: Mapping[str, float] = field(default_factory=dict)
    guard: bool = True
    dynamic_shapes: Any = None
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.rectify not in RECTIFY_FORMS:
            raise UsageError(f"--rectify {self.rectify}: expected one of {', '.join(RECTIFY_FORMS)}")
        if self.target not in TARGETS:
            raise UsageError(f"--target {self.target}: expected one of {', '.join(TARGETS)}")
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise UsageError(f"--opset {self.opset}: expected {MIN_OPSET}..{MAX_OPSET}, what torch's exporter covers")

    def recorded(self) -> dict[str, Any]:
        """What the manifest says about them."""
        return {
            "opset": self.opset,
            "rectify": self.rectify,
            "target": self.target,
            "precision": self.precision,
            "guard": self.guard,
        }

    def lowering(self) -> Lowering:
        """Lowering for the target; a form of rectification that was asked for by name is left alone."""
        operators = [entry for entry in OPERATORS if self.rectify == "auto" or entry.name != rectify_forms.NAME]
        return Lowering(load_costs(self.target), operators)

    @property
    def precision(self) -> str:
        """fp32 or fp16."""
        return "fp16" if self.fp16 else "fp32"


@dataclass
class Exported:
    """A finished export."""

    package: Package
    passes: list[PassResult]
    parity: ParityReport
    nodes: tuple[int, int]


def run_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions, log: Log) -> Exported:
    """Export `source` into the folder `out`, which appears whole or not at all.

    Raises BadInput, UsageError, MissingDependency, and ParityError when the package disagrees with the source
    model; then the tensors that differ are kept in OUT.failed.npz.
    """
    plan = plan_inputs(source, shapes)
    with replaced_directory(out, FILE_NAME) as folder:
        with log.step("trace"):
            source, swaps = adapt_source(source)  # the reference, too, is what we put for third-party modules
            for swap in swaps:
                log.say(f"adapted {swap}")
            traced = trace(source, plan.inputs, options.opset, options.dynamic_shapes)
            _check_bounds(options, traced.model)
            opset = default_opset(traced.model)  # an ONNX file keeps its own, TorchScript ends at 20
            log.say(f"{source.description}: {len(traced.model.graph.node)} nodes, opset {opset}")
            log.say(", ".join(_describe(entry) for entry in traced.inputs))
        with log.step("passes"):
            model, results = _lower(traced, options, log)
            log.say(f"{len(traced.model.graph.node)} nodes before, {len(model.graph.node)} after")
        with log.step("parity"):
            path = package_writer.write_model(folder, model, _notes(source, options))
            reference, tolerance = make_reference(source, traced), _tolerance(source, options)
            report = check_parity(model, path, reference, traced.inputs, tolerance)
        if not report.passed:
            raise ParityError(_failure(report, out))
        with log.step("package"):
            _write(folder, model, source, traced.inputs, results, report, options, log)
            Package.open(folder)  # a package that cannot be read must not replace one that can
    nodes = (len(traced.model.graph.node), len(model.graph.node))
    return Exported(Package.open(out), results, report, nodes)


def describe_export(source: Source, shapes: ShapeOptions, out: Path, options: ExportOptions) -> list[str]:
    """What run_export would do, without tracing or writing. Raises as it does for inputs that do not fit."""
    plan = plan_inputs(source, shapes)
    passes = ", ".join(entry.name for entry in _passes(options))
    return [
        *(f"input {_describe(entry)}" for entry in plan.inputs),
        f"opset {options.opset}, {options.precision}, for {options.target}, passes: {passes}",
        f"would write {out}",
    ]


def _passes(options: ExportOptions) -> tuple[Pass, ...]:
    """Raising first: what a model's code spells out by hand is worth as much as our layers."""
    return (RAISING, *select_passes(options.rectify, options.lowering().passes()))


def _lower(traced: Traced, options: ExportOptions, log: Log) -> tuple[ModelProto, list[PassResult]]:
    cases = parity_cases(traced.inputs)
    feeds = [cases[label] for label in ("example", "min", "odd") if label in cases]
    model, results = run_passes(infer_shapes(traced.model), _passes(options), feeds, log, options.guard)
    left = [node for node in model.graph.node if node.domain == "rectexport"]
    if left or (options.rectify == "fold" and any(_still_dynamic(result) for result in results)):
        raise BadInput("--rectify fold: H, W are dynamic, so r is no constant; use --rectify auto or graph")
    if options.fp16:
        model, result = half.run(model)
        results.append(result)
        log.say(f"{result.name}: {', '.join(result.fired)}; {len(result.refused)} nodes stay in float32")
    return model, results


def _check_bounds(options: ExportOptions, model: ModelProto) -> None:
    outputs = [value.name for value in model.graph.output]
    for flag, bounds in (("--atol", options.atol), ("--rtol", options.rtol)):
        for name in bounds:
            if name and name not in outputs:
                raise UsageError(f"{flag} {name}: no such output; the model has {', '.join(outputs)}")


def _still_dynamic(result: PassResult) -> bool:
    return any(entry.reason == "H, W dynamic" for entry in result.refused)


def _describe(entry: InputPlan) -> str:
    bounds = entry.range
    if not bounds.dynamic_axes:
        return f"{entry.name} {format_shape(bounds.opt)} {entry.example.dtype}"
    return f"{entry.name} {format_shape(bounds.min)} .. {format_shape(bounds.max)} {entry.example.dtype}"


def _tolerance(source: Source, options: ExportOptions) -> Tolerance:
    default = RELATIVE_L2[options.precision]
    asked = source.tolerances.get("relative_l2", default)
    return Tolerance(max(asked, default) if options.fp16 else asked, options.atol, options.rtol)


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


def _write(
    folder: Path,
    model: ModelProto,
    source: Source,
    inputs: Sequence[InputPlan],
    results: Sequence[PassResult],
    report: ParityReport,
    options: ExportOptions,
    log: Log,
) -> None:
    package_writer.write_goldens(folder, *report.goldens)
    package_writer.write_json(folder / "parity.json", report.as_dict())
    if options.command:
        package_writer.write_reproduce(folder, options.command)
    (folder / "export.log").write_text(
        "\n".join([*log.lines, f"python {sys.version.split()[0]}", ""]), encoding="utf-8"
    )
    package_writer.write_manifest(
        folder, model, source, inputs, results, report.tolerance.as_dict(), options.recorded(), dict(log.steps)
    )
    log.say(f"{MODEL} {(folder / MODEL).stat().st_size / 1e6:.1f} MB")
