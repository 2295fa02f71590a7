"""The models of one package: lowered for each target, written once where targets agree, compared on each engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.memory import release
from rectexport.exporter.base.options import AUTO, ExportOptions
from rectexport.exporter.checking.engines import CPU_ENGINES, ONNXRUNTIME, PRECISIONS, EngineCheck, installed_engines
from rectexport.exporter.checking.parity import ParityReport, check_parity, parity_cases
from rectexport.exporter.checking.reference import Reference, Remembered
from rectexport.exporter.checking.tolerance import Tolerance
from rectexport.exporter.engine_facts.known import hidden_fault
from rectexport.exporter.graph.guard import MAX_BYTES, Watch, coarsest_float, run_at_once, run_passes, summary
from rectexport.exporter.graph.light import is_larger
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import Code, Pass, PassContext, PassPipeline, PassResult, check_finished, select_passes
from rectexport.exporter.passes.lowering.machinery.tuning import unreadable_forms
from rectexport.exporter.passes.order import PRECISION
from rectexport.exporter.passes.precision import bfloat16
from rectexport.exporter.passes.summary import summarize
from rectexport.exporter.tracing.places import module_paths
from rectexport.exporter.tracing.trace import Traced
from rectexport.exporter.writing import package_writer
from rectexport.exporter.writing.origins import Origins
from rectexport.exporter.writing.rewrites import Rewrites
from rectexport.runtime.base.environment import missing
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.engines.backends import BACKENDS
from rectexport.runtime.errors import BadInput, Option, ParityError
from rectexport.runtime.package.folder import MODEL
from rectexport.runtime.package.manifest import INDEPENDENT
from rectexport.runtime.package.proofs import AGREES, DIFFERS, Proof

_Feeds = Sequence[Mapping[str, Array]]

#: A target that is no engine: its file is for any of them.
PORTABLE = "portable"


@dataclass
class TargetModel:
    """One model file of a package.

    results: what its passes did; changes: the same, for rewrites.json; origins: where its nodes come from.
    """

    file: str
    targets: tuple[str, ...]
    model: ModelProto
    results: list[PassResult]
    changes: Rewrites = field(default_factory=Rewrites)
    origins: Origins = field(default_factory=Origins)


def chosen_targets(options: ExportOptions) -> tuple[str, ...]:
    """The targets by name: what was asked for, or the engines that are installed here."""
    if options.targets != (AUTO,):
        return options.targets
    engines = {entry.name: entry.absent for entry in BACKENDS}
    found = tuple(name for name in ("onnxruntime", "openvino", "tensorrt") if engines[name]() is None)
    return found or (ExportOptions.target,)


def all_passes(options: ExportOptions) -> tuple[Pass, ...]:
    """The passes that an export with these options runs, in order; with several targets, those of the first."""
    return tuple(select_passes(_context(options, chosen_targets(options)[0]), _pipeline(options).passes))


def _context(options: ExportOptions, target: str, feeds: _Feeds = ()) -> PassContext:
    without = unreadable_forms(chosen_targets(options))  # model.onnx is for engines without a file of their own, too
    return PassContext(target, options.rectify, options.precision, feeds=feeds, without=without)


def _pipeline(options: ExportOptions) -> PassPipeline:
    return options.passes or PassPipeline.default()


def lower_for_targets(
    traced: Traced, targets: Sequence[str], options: ExportOptions, log: Log
) -> tuple[TargetModel, ...]:
    """The model for each target; targets with equal models share one. The first is model.onnx.

    Raises BadInput where the form of rectification that was asked for does not fit the model.
    """
    found: dict[bytes, TargetModel] = {}
    cases, shaped = parity_cases(traced.inputs), infer_shapes(traced.model)
    feeds = [{**cases[label], **traced.stored} for label in ("example", "min", "odd") if label in cases]
    modules = module_paths(traced.program) if traced.program is not None else {}
    watch = Watch(shaped, feeds) if options.guard and not is_larger(shaped, MAX_BYTES) else None
    for target in targets:
        run = _Lowering(traced, shaped, target, options, feeds, modules)
        done = run.at_once(watch, log) if watch is not None else None
        if done is None:
            run = _Lowering(traced, shaped, target, options, feeds, modules)
            done = run.guarded(watch, log)
        model, results = done
        where = f" for {target}" if len(targets) > 1 else ""
        nodes = f"{len(traced.model.graph.node)} nodes before, {len(model.graph.node)} after"
        log.say(f"{summarize(results)}{where}; {nodes}")
        key = identity(model) if len(targets) > 1 else b""
        if key in found:
            found[key].targets += (target,)
        else:
            found[key] = TargetModel(
                file_of(target) if found else MODEL, (target,), model, results, run.changes, run.origins
            )
    release(circles=True)  # each pass has left a copy of the weights behind
    return tuple(found.values())


def file_of(target: str) -> str:
    """Name of a model file for one target alone."""
    return f"model.{target}.onnx"


def identity(model: ModelProto) -> bytes:
    """A hash, equal for models with equal nodes, tensors, inputs and outputs. Read part by part: any size will do."""
    content, graph = hashlib.sha256(), model.graph
    parts = (*model.opset_import, *model.functions, *graph.input, *graph.output, *graph.node, *graph.initializer)
    for part in parts:
        content.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
    return content.digest()


class _Lowering:
    """One run of a target's passes, and what is noted of it: a second run needs notes of its own."""

    def __init__(
        self,
        traced: Traced,
        shaped: ModelProto,
        target: str,
        options: ExportOptions,
        feeds: _Feeds,
        modules: Mapping[str, str],
    ) -> None:
        """shaped is the traced model with the shapes of inner tensors."""
        self._shaped, self._options, self._feeds = shaped, options, feeds
        self._context = _context(options, target, feeds[:1])
        self.changes, self.origins = Rewrites(), Origins(modules)
        passes = select_passes(self._context, _pipeline(options).passes)
        self._exact, self._rounding = _split([self.origins.watched(self.changes.watched(entry)) for entry in passes])
        self.origins.start(traced.model)

    def at_once(self, watch: Watch, log: Log) -> tuple[ModelProto, list[PassResult]] | None:
        """The lowered model and what its passes did; None where the guard must compare each of them."""
        watch.restart()
        done = run_at_once(self._shaped, self._exact, watch)
        if done is None:
            return None
        for result in done[1]:
            log.detail(summary(result))
        return self._finished(*done, log)

    def guarded(self, watch: Watch | None, log: Log) -> tuple[ModelProto, list[PassResult]]:
        """The same, compared around each pass."""
        if watch is not None:
            watch.restart()
        done = run_passes(self._shaped, self._exact, self._feeds, log, self._options.guard, watch=watch)
        return self._finished(*done, log)

    def _finished(self, model: ModelProto, results: list[PassResult], log: Log) -> tuple[ModelProto, list[PassResult]]:
        self.changes.keep(results)
        self.origins.keep(results)
        _check_fold(self._options, results)
        check_finished(model, self._context, results)
        for entry in self._rounding:
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


def engine_files(models: Sequence[TargetModel]) -> dict[str, str]:
    """Engine -> its file, for the engines that do not take model.onnx."""
    return {target: entry.file for entry in models[1:] for target in entry.targets if target != PORTABLE}


def compare_models(
    folder: Path,
    models: Sequence[TargetModel],
    reference: Reference,
    traced: Traced,
    tolerance: Tolerance,
    options: ExportOptions,
    cases: Mapping[str, Mapping[str, Array]] | None = None,
) -> ParityReport:
    """Compare each model with the reference on every CPU engine that takes its file, and on ONNX Runtime in any case.

    cases: feeds by label; None takes the inputs' examples over their range. The report is that of model.onnx; it has
    the proofs of all, and the cases of the other files in `others`.
    """
    shared = Remembered(reference) if len(models) > 1 else reference
    own, reports = engine_files(models), []
    for entry in models:
        if options.bf16:
            report = _check_emulated(entry.model, shared, traced, tolerance)
        else:
            engines = [name for name in installed_engines() if own.get(name, MODEL) == entry.file]
            report = _check_on_engines(
                entry.model, folder / entry.file, shared, traced, tolerance, options, engines, cases
            )
        reports.append(report)
    first = reports[0]
    for entry, report in zip(models[1:], reports[1:], strict=True):
        first.others[entry.file] = report.cases
        first.kept = first.kept or report.kept
        if first.rows.verdict == INDEPENDENT:
            first.rows = report.rows
        first.proofs.extend(report.proofs)
    return first


def _check_on_engines(
    model: ModelProto,
    path: Path,
    reference: Reference,
    traced: Traced,
    tolerance: Tolerance,
    options: ExportOptions,
    engines: Sequence[str],
    cases: Mapping[str, Mapping[str, Array]] | None = None,
) -> ParityReport:
    """Compare a model on engines, and on ONNX Runtime, which shows its inner tensors; proofs are those of `engines`."""
    names = engines if ONNXRUNTIME in engines else [ONNXRUNTIME, *engines]
    precision = coarsest_float(model) if options.precision == "fp32" else PRECISIONS[options.precision]
    checks = [EngineCheck(name, precision) for name in names]
    for check in checks:
        if check.name != ONNXRUNTIME:
            check.open(path, model)
    try:
        report = check_parity(
            model,
            path,
            reference,
            traced.inputs,
            tolerance,
            cases,
            engines=checks,
            judge=traced.judge,
            stored=traced.stored,
        )
    finally:
        for check in checks:
            check.close()
    report.proofs = [_with_hidden_faults(proof, model) for proof in report.proofs if proof.engine in engines]
    return report


def _with_hidden_faults(proof: Proof, model: ModelProto) -> Proof:
    """The proof, or one that differs where a fault of the engine is known that the comparison did not meet."""
    fault = hidden_fault(model, proof.engine, proof.version) if proof.verdict == AGREES else ""
    return replace(proof, verdict=DIFFERS, reason=fault) if fault else proof


def _check_emulated(model: ModelProto, reference: Reference, traced: Traced, tolerance: Tolerance) -> ParityReport:
    with scratch_folder() as folder:
        emulated = bfloat16.emulate(model)
        path = package_writer.write_model(folder, emulated, {})
        report = check_parity(emulated, path, reference, traced.inputs, tolerance, judge=traced.judge)
    report.backend = "onnxruntime CPU, bfloat16 emulated in float32"
    return report


def require_targets(targets: Sequence[str], report: ParityReport, out: Path) -> None:
    """Raise ParityError for a target that disagrees: a package for it is not written."""
    for target in targets:
        proof = report.proof_of(target)
        if proof is not None and proof.verdict != AGREES:
            raise ParityError(
                f"the package does not work on its target: {proof.describe()}. Nothing was written to {out}; ",
                Option("target", ONNXRUNTIME),
                " makes a package that runs on ONNX Runtime",
            )


def unproven(targets: Sequence[str], report: ParityReport) -> str:
    """Why targets are not proven; empty where there is a proof for each."""
    open_targets = [name for name in targets if name != PORTABLE and report.proof_of(name) is None]
    return "; ".join(f"not proven on {name}: {_no_proof(name)}" for name in open_targets)


def _no_proof(target: str) -> str:
    if target in CPU_ENGINES:
        return missing(target) or "it cannot run this precision here"
    return "rectexport build, on a machine with a GPU, compares the engine that it makes"
