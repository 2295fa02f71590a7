"""Put one drawn graph or module through the export, and judge every promise of the package."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
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
from tests.differential.drawn.graphs import Drawn, draw
from tests.differential.drawn.judge import Feeds, Session, fresh, open_bare, verdicts
from tests.differential.drawn.known import Known
from tests.differential.drawn.modules import DrawnModule, draw_module
from tests.differential.engines import onnxruntime_plain
from tests.differential.specification import answer, exact_answer

TARGETS = ("onnxruntime", "openvino", "portable")
Sizes = Sequence[tuple[int, int]]
#: Outputs for some inputs, None where they are not taken.
Reference = Callable[[Feeds], "list[Array] | None"]


@dataclass
class Outcome:
    """What came of one export.

    refused    why there is no package
    agreeing   engines that the package says it agrees on
    others     engines that it does not, with the reason
    judged     outputs that were compared
    faults     promises that do not hold
    known      promises that do not hold for values that a row of export/engine_facts names
    disputed   answers in which ONNX Runtime, as written, and onnx.reference differ, the engine being with the former
    """

    name: str
    refused: str = ""
    agreeing: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    judged: int = 0
    faults: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    disputed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """Inputs with what is expected: in float64, in float32 on nudged inputs, and by ONNX Runtime as written."""

    label: str
    feeds: Feeds
    exact: Sequence[Array]
    rounded: Sequence[Array]
    written: Sequence[Array] | None


def try_graph(drawn: Drawn, target: str) -> Outcome:
    """Export a graph for a target and judge the package on every engine that it names."""
    outcome = Outcome(f"graph {drawn.seed} for {target}")
    source = Source("onnx", drawn.model, "drawn graph", None, list(drawn.feeds), tuple(drawn.feeds.values()))
    options = ExportOptions(target=target)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "package"
        try:
            run_export(source, _ranges(drawn.feeds, drawn.sizes), out, options, Log())
        except RectexportError as error:
            outcome.refused = str(error)
        else:
            _judge_package(out, outcome, list(_questions_of_graph(drawn)))
    return outcome


def try_optimize(drawn: Drawn, target: str) -> Outcome:
    """Optimize a graph for a target; ONNX Runtime must answer as before."""
    outcome = Outcome(f"graph {drawn.seed} optimized for {target}", agreeing=["onnxruntime"])
    model, _ = rectexport.optimize(drawn.model, target, shapes={name: a.shape for name, a in drawn.feeds.items()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(drawn.model, path)
        try:
            open_bare("onnxruntime", path)(drawn.feeds)
        except Exception as error:  # of pybind's kinds: ONNX Runtime's own rewrites do not take the graph as drawn
            outcome.refused, outcome.agreeing = str(error), []
            return outcome
        onnx.save(model, path)
        _judge(outcome, "onnxruntime", open_bare("onnxruntime", path), list(_questions_of_graph(drawn)), model)
    return outcome


def try_module(drawn: DrawnModule, target: str) -> Outcome:
    """Export a module for a target and judge the package on every engine that it names."""
    outcome = Outcome(f"module {drawn.seed} for {target}")
    feeds = {"x": drawn.example}
    source = Source("module", drawn.module, "drawn module", None, ["x"], (drawn.example,))
    options = ExportOptions(target=target)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "package"
        try:
            run_export(source, _ranges(feeds, drawn.sizes), out, options, Log())
        except RectexportError as error:
            outcome.refused = str(error)
        else:
            asked = _questions(feeds, drawn.sizes, drawn.seed, *(_of_module(drawn, kind) for kind in (True, False)))
            _judge_package(out, outcome, list(asked))
    return outcome


def _of_module(drawn: DrawnModule, double: bool) -> Reference:
    return lambda feeds: drawn.answer(feeds["x"], double)


def _ranges(feeds: Feeds, sizes: Sizes) -> ShapeOptions:
    if not sizes:
        return ShapeOptions()
    shapes = [
        tuple(f"{name}:{'x'.join(map(str, (*array.shape[:2], *size)))}" for name, array in feeds.items())
        for size in sizes
    ]
    return ShapeOptions(min=shapes[0], opt=shapes[0], max=shapes[-1])


def _questions_of_graph(drawn: Drawn) -> Iterator[Question]:
    model = drawn.model
    exact, rounded = (lambda feeds: exact_answer(model, feeds)), (lambda feeds: answer(model, feeds))
    return _questions(drawn.feeds, drawn.sizes, drawn.seed, exact, rounded, lambda feeds: _as_written(model, feeds))


def _questions(
    examples: Feeds, sizes: Sizes, seed: int, exact: Reference, rounded: Reference, written: Reference | None = None
) -> Iterator[Question]:
    """Fresh inputs with their answers, where the references take them."""
    for label, feeds in fresh(examples, sizes, seed):
        wanted, again = exact(feeds), rounded(nudged(feeds) or feeds)
        if wanted is not None and again is not None:
            yield Question(label, feeds, wanted, again, None if written is None else written(feeds))


def _as_written(model: ModelProto, feeds: Feeds) -> list[Array] | None:
    try:
        return onnxruntime_plain(model, feeds)
    except Exception:  # of pybind's kinds
        return None


def _judge_package(out: Path, outcome: Outcome, questions: Sequence[Question]) -> None:
    """Judge every engine that the package says it agrees on; one that refuses the file is a fault."""
    package = Package.open(out)
    for proof in read_proofs(package.manifest.data):
        if proof.verdict != AGREES:
            outcome.others[proof.engine] = proof.reason
            continue
        outcome.agreeing.append(proof.engine)
        path = package.model_for(proof.engine)
        try:
            session = open_bare(proof.engine, path)
        except Exception as error:  # of each engine's own kind
            outcome.faults.append(f"{proof.engine} refuses the file: {error}")
            continue
        _judge(outcome, proof.engine, session, questions, onnx.load(path))


def _judge(outcome: Outcome, engine: str, session: Session, questions: Sequence[Question], model: ModelProto) -> None:
    known = Known(engine, model)
    for question in questions:
        try:
            actual = session(question.feeds)
        except Exception as error:  # of each engine's own kind
            line = f"{engine} refuses the inputs {question.label}: {str(error)[-200:]}"
            (outcome.known if known.explains(question.feeds) else outcome.faults).append(line)
            continue
        for index, said in enumerate(verdicts(question.exact, question.rounded, actual)):
            outcome.judged += said is not None
            if said:
                place = f"{engine}, output {index}, inputs {question.label}: {said}"
                _place_of(outcome, question, index, actual, known).append(place)


def _place_of(outcome: Outcome, question: Question, index: int, actual: Sequence[Array], known: Known) -> list[str]:
    """The list of the outcome that a difference belongs to."""
    if known.explains(question.feeds, index):
        return outcome.known
    written = question.written
    if written is not None and list(verdicts(written, written, actual))[index] == "":
        return outcome.disputed
    return outcome.faults


def seeded(seed: int) -> Mapping[str, Callable[[], Outcome]]:
    """The trials of a seed by kind: a graph for one target in turn, one optimized, a module."""
    target = TARGETS[seed % len(TARGETS)]
    return {
        "graphs": lambda: try_graph(draw(seed), target),
        "optimized": lambda: try_optimize(draw(seed), target),
        "modules": lambda: try_module(draw_module(seed), target),
    }
