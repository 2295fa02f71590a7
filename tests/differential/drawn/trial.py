"""Put one drawn graph or module through the export, and judge every promise of the package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

import rectexport
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, ShapeOptions
from rectexport.exporter.checking.values import nudged
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.proofs import AGREES, read_proofs
from tests.differential.case import Array
from tests.differential.drawn.graphs import Drawn
from tests.differential.drawn.judge import Answer, Feeds, fresh, open_bare, verdicts
from tests.differential.specification import answer, exact_answer
from tests.differential.engines import onnxruntime_plain

TARGETS = ("onnxruntime", "openvino", "portable")


@dataclass
class Outcome:
    """What came of one export.

    refused    why there is no package
    agreeing   engines that the package says it agrees on
    others     engines that it does not, with the reason
    judged     outputs that were compared
    faults     promises that do not hold
    disputed   answers in which ONNX Runtime, as written, and onnx.reference differ, the engine being with the former
    """

    name: str
    refused: str = ""
    agreeing: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    judged: int = 0
    faults: list[str] = field(default_factory=list)
    disputed: list[str] = field(default_factory=list)


def try_graph(drawn: Drawn, target: str) -> Outcome:
    """Export a graph for a target and judge the package on every engine that it names."""
    outcome = Outcome(f"graph {drawn.seed} for {target}")
    source = Source("onnx", drawn.model, "drawn graph", None, list(drawn.feeds), tuple(drawn.feeds.values()))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "package"
        try:
            run_export(source, _ranges(drawn), out, ExportOptions(target=target), Log())
        except RectexportError as error:
            outcome.refused = str(error)
            return outcome
        questions = _questions(drawn)
        for engine, session in _promised(Package.open(out), outcome).items():
            _judge(outcome, engine, session, questions)
    return outcome


def try_optimize(drawn: Drawn, target: str) -> Outcome:
    """Optimize a graph for a target; ONNX Runtime must answer as before."""
    outcome = Outcome(f"graph {drawn.seed} optimized for {target}", agreeing=["onnxruntime"])
    model, _ = rectexport.optimize(drawn.model, target, shapes={name: a.shape for name, a in drawn.feeds.items()})
    questions = _questions(drawn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        _judge(outcome, "onnxruntime", open_bare("onnxruntime", path), questions)
    return outcome


def _ranges(drawn: Drawn) -> ShapeOptions:
    if not drawn.sizes:
        return ShapeOptions()
    shapes = [
        [f"{name}:{'x'.join(map(str, (*array.shape[:2], *size)))}" for name, array in drawn.feeds.items()]
        for size in drawn.sizes
    ]
    return ShapeOptions(min=tuple(shapes[0]), opt=tuple(shapes[0]), max=tuple(shapes[-1]))


def _promised(package: Package, outcome: Outcome) -> dict[str, Answer]:
    """A bare session for every engine that the package says it agrees on; one that refuses the file is a fault."""
    sessions = {}
    for proof in read_proofs(package.manifest.data):
        if proof.verdict != AGREES:
            outcome.others[proof.engine] = proof.reason
            continue
        outcome.agreeing.append(proof.engine)
        try:
            sessions[proof.engine] = open_bare(proof.engine, package.path / "model.onnx")
        except Exception as error:  # of each engine's own kind
            outcome.faults.append(f"{proof.engine} refuses the file: {error}")
    return sessions


@dataclass(frozen=True)
class Question:
    """Inputs with what is expected: in float64, in float32 on nudged inputs, and by ONNX Runtime as written."""

    label: str
    feeds: Feeds
    exact: Sequence[Array]
    rounded: Sequence[Array]
    written: Sequence[Array] | None


def _questions(drawn: Drawn) -> list[Question]:
    found = []
    for label, feeds in fresh(drawn.feeds, drawn.sizes, drawn.seed):
        exact, rounded = exact_answer(drawn.model, feeds), answer(drawn.model, nudged(feeds))
        if exact is not None and rounded is not None:
            found.append(Question(label, feeds, exact, rounded, _as_written(drawn.model, feeds)))
    return found


def _as_written(model: ModelProto, feeds: Feeds) -> list[Array] | None:
    try:
        return onnxruntime_plain(model, feeds)
    except Exception:  # of pybind's kinds
        return None


def _judge(outcome: Outcome, engine: str, session: Answer, questions: Sequence[Question]) -> None:
    for question in questions:
        try:
            actual = session(question.feeds)
        except Exception as error:  # of each engine's own kind
            if question.written is not None:
                outcome.faults.append(f"{engine} refuses the inputs {question.label}: {str(error)[-200:]}")
            continue
        written = question.written
        against = verdicts(written, written, actual) if written else None
        for index, said in enumerate(verdicts(question.exact, question.rounded, actual)):
            as_written = next(against) if against else "unknown"
            outcome.judged += said is not None
            if said:
                place = f"{engine}, output {index}, inputs {question.label}: {said}"
                (outcome.disputed if as_written == "" else outcome.faults).append(place)
