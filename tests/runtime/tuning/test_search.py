"""The search, with made-up processes: proofs, bounds, accuracy, the choice, resumption, the document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.errors import ParityError
from rectexport.runtime.evaluation.evaluate import Answers, Evaluation, Interval
from rectexport.runtime.tuning.candidate import (
    GRAPHS,
    PROVEN,
    REFUSED,
    SLOWER,
    Candidate,
    Record,
    Space,
    Variant,
    candidates,
    simplicity,
)
from rectexport.runtime.tuning.choice import THROUGHPUT, Bounds, breach, figures, front
from rectexport.runtime.tuning.document import load_options, tuning_document
from rectexport.runtime.tuning.racing import MARGIN, Standing
from rectexport.runtime.tuning.search import Goal, Search
from rectexport.runtime.tuning.state import State, open_state
from tests.runtime.tuning.test_racing import World

FP32, INT8 = "fp32, onnxruntime, 2 threads, batch 1", "int8, onnxruntime, 2 threads, batch 1"


@pytest.fixture
def search(exported: Path, tmp_path: Path) -> Search:
    """Two variants on one engine; int8 takes half the time."""
    variants = [
        Variant("fp32", str(exported), "fp32", backends=("onnxruntime",)),
        Variant("int8", str(exported), "int8", backends=("onnxruntime",)),
    ]
    return prepared(variants, tmp_path / "state.json", {FP32: 1.0, INT8: 0.5})


def prepared(variants: list[Variant], path: Path, seconds: Mapping[str, float], **options: Any) -> Search:
    world = World(seconds)
    space = Space(("onnxruntime",), (2,), batches=options.pop("batches", (4,)))
    search = Search(variants, space, options.pop("goal", Goal()), open_state(path, "task"), 1e6, **options)
    search.stopwatch, search.clock = world.stopwatch, lambda: world.now
    search.asked = lambda program, spec: {"snr": 100.0, "memory": 10_000_000, "description": "an engine"}
    return search


def renamed(search: Search, seconds: Mapping[str, float]) -> None:
    world = World(seconds)
    search.stopwatch, search.clock = world.stopwatch, lambda: world.now


@pytest.fixture(autouse=True)
def batch_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits package takes batches of four; names in these tests say 1."""
    monkeypatch.setattr(Candidate, "key", property(lambda self: f"{self.variant}, {self.backend}, 2 threads, batch 1"))


def evaluation(low: float | None, value: float = -0.1) -> Evaluation:
    answers = Answers("an engine", 99.0, Interval(value, low, 0.1))
    return Evaluation("data", 500, "logits", "top1", "points", 0.2, Answers("reference", 99.1), [answers])


def test_the_fastest_that_keeps_the_bound_wins(search: Search) -> None:
    search.goal = Goal(max_drop=0.2)
    search.evaluate = lambda variant, backend: evaluation(-0.15) if variant.precision == "int8" else None
    found = search.run()
    assert found.chosen is not None and found.chosen.variant == "int8" and found.separated
    assert found.records[FP32].state == SLOWER and found.reason.startswith("it is the fastest")


@pytest.mark.parametrize(("low", "said"), [(-0.25, "with 95 % confidence no less than -0.25, on 500 items; 0.2 lower"),
                                           (None, "500 items are too few for a 95 % interval of top1")])  # fmt: skip
def test_one_that_is_not_shown_to_keep_it_is_out(search: Search, low: float | None, said: str) -> None:
    search.goal = Goal(max_drop=0.2)
    search.evaluate = lambda variant, backend: evaluation(low)
    found = search.run()
    assert found.chosen is not None and found.chosen.variant == "fp32"
    assert found.records[INT8].state == REFUSED and said in found.records[INT8].reason
    assert found.records[FP32].accuracy == 99.0  # float32 is proven, and only shown


def test_one_without_a_proof_is_never_timed(search: Search) -> None:
    def asked(program: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        assert spec["inputs"] == [["x", "float32", [4, 1, 8, 8]]]
        if len(tried) == 1:
            tried.append("int8")
            raise ParityError("it disagrees")
        tried.append("fp32")
        return {"snr": 100.0, "memory": None, "description": "an engine"}

    tried: list[str] = []
    search.asked = asked
    found = search.run()
    assert found.records[INT8].state == REFUSED and found.records[INT8].reason == "it disagrees"
    assert not found.records[INT8].samples and found.chosen is not None and found.chosen.variant == "fp32"


def test_of_equals_the_simpler_wins(search: Search) -> None:
    renamed(search, {FP32: 1.0, INT8: 1.0})
    found = search.run()
    assert found.chosen is not None and found.chosen.variant == "fp32" and len(found.equal) == 2
    assert "of 2 that are not told apart" in found.reason


def test_one_that_seems_slower_is_no_equal_where_the_time_was_up(search: Search) -> None:
    """Its interval is wide, not narrow around 1."""
    undecided = 0
    for seed in range(20):
        world = World({FP32: 1.1, INT8: 1.0}, noise=0.1, seed=seed)
        search.stopwatch, search.clock, search.seconds = world.stopwatch, lambda world=world: world.now, 0.0
        search.state.standing, search.state.records = Standing(), {}
        found = search.run()
        record, other = found.records[FP32], found.records[INT8]
        launches = zip(record.rounds, other.rounds, strict=False)
        if record.state == PROVEN and np.median([np.median(mine) / np.median(its) for mine, its in launches]) > MARGIN:
            undecided += 1
            assert record.low and record.low <= 1 and not found.separated
            assert found.chosen is not None and found.chosen.variant == "int8" and len(found.equal) == 1
    assert undecided


def test_bounds_of_memory_and_latency(search: Search) -> None:
    search.goal = Goal(bounds=Bounds(memory=5_000_000))
    found = search.run()
    assert found.chosen is None and found.reason == "no candidate keeps the bounds"
    assert found.records[FP32].reason == "10 MB resident, more than 5 MB"


def test_a_call_that_takes_too_long_loses_to_a_slower_rate(search: Search) -> None:
    search.goal = Goal(THROUGHPUT, Bounds(max_latency=0.75))
    found = search.run()
    assert found.chosen is not None and found.chosen.variant == "int8"
    assert found.records[FP32].state == REFUSED and "more than 750 ms" in found.records[FP32].reason


def test_a_search_goes_on_where_it_was(search: Search, exported: Path) -> None:
    calls: list[str] = []

    def counted(program: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        calls.append(program)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"snr": 100.0, "memory": 1, "description": "an engine"}

    search.asked = counted
    with pytest.raises(KeyboardInterrupt):
        search.run()
    again = prepared(list(search.variants), search.state.path, {FP32: 1.0, INT8: 0.5})
    assert again.state.records[FP32].state == PROVEN
    again.asked = counted
    found = again.run()
    assert len(calls) == 3 and found.chosen is not None and found.chosen.variant == "int8"
    assert open_state(search.state.path, "another task").records == {}
    search.state.path.write_text("{")
    assert open_state(search.state.path, "task").records == {}


def test_the_document_is_strict_and_names_the_front(search: Search) -> None:
    found = search.run()
    document = tuning_document(search, found, {"fp16": "refused"}, None, ["rectexport", "tune", "net.pt"])
    again = json.loads(json.dumps(document, allow_nan=False))
    rows = {row["name"]: row for row in again["candidates"]}
    assert rows[INT8]["front"] and not rows[FP32]["front"]
    assert again["load"] == {"backend": "onnxruntime", "threads": 2} and again["chosen"] == INT8
    assert rows[INT8]["p50_ms"] == pytest.approx(500, rel=0.05) and rows[INT8]["throughput"] == pytest.approx(
        8, rel=0.05
    )
    assert (again["format"], again["version"], again["refused_variants"]) == (
        "rectexport-tuning",
        1,
        {"fp16": "refused"},
    )


def test_combinations_have_no_more_streams_than_threads() -> None:
    variants = [Variant("fp32", "x", backends=("openvino", "onnxruntime"))]
    found = candidates(variants, Space((), (1, 2), (1, 2), (1, 8)))
    assert len(found) == 2 * (1 + 2) * 2
    assert {(entry.threads, entry.streams) for entry in found} == {(1, 1), (2, 1), (2, 2)}
    assert found[0].items == 1 and max(entry.items for entry in found) == 16


def test_the_layout_is_a_choice_for_float32_on_onnxruntime_alone() -> None:
    variants = [Variant(name, "x", name, backends=("openvino", "onnxruntime")) for name in ("fp32", "int8")]
    found = candidates(variants, Space((), (1,), layouts=("auto", "plain")))
    assert [entry for entry in found if entry.layout == "plain"] == [
        Candidate("fp32", "onnxruntime", 1, 1, 1, "plain"),
    ]
    assert len(found) == 5


def test_a_gpu_has_graphs_and_no_threads() -> None:
    variants = [Variant("fp16", "x", "fp16", backends=("onnxruntime", "cuda", "tensorrt"))]
    found = candidates(variants, Space((), (1, 2), (1, 2), (8,), ("auto", "plain"), GRAPHS))
    assert [(entry.threads, entry.cuda_graphs) for entry in found if entry.backend == "onnxruntime"] == [
        *((1, None), (2, None), (2, None)),
    ]
    assert [(entry.threads, entry.streams, entry.cuda_graphs) for entry in found if entry.backend == "tensorrt"] == [
        *((0, 1, False), (0, 1, True), (0, 2, False), (0, 2, True)),
    ]
    assert len({entry for entry in found if entry.backend == "cuda"}) == 4


def test_the_default_layout_and_no_graphs_are_simpler() -> None:
    variant = Variant("fp32", "x")
    plain, auto = (Candidate("fp32", "onnxruntime", 2, 1, 1, layout) for layout in ("plain", "auto"))
    assert simplicity(auto, variant, ("onnxruntime",)) < simplicity(plain, variant, ("onnxruntime",))
    graphs, none = (Candidate("fp32", "tensorrt", 0, 1, 1, cuda_graphs=value) for value in (True, False))
    assert simplicity(none, variant, ("tensorrt",)) < simplicity(graphs, variant, ("tensorrt",))


def test_the_front_has_what_nobody_beats() -> None:
    points = {"a": (1.0, 5.0), "b": (2.0, 4.0), "c": (1.0, 4.0), "d": (2.0, 4.0)}
    assert front(points) == {"a", "b", "d"}


def test_threads_are_shared_by_streams_as_each_engine_does_it() -> None:
    assert load_options(Candidate("fp32", "openvino", 4, 2, 1)) == {"backend": "openvino", "threads": 4, "streams": 2}
    assert load_options(Candidate("fp32", "onnxruntime", 4, 2, 1)) == {"backend": "onnxruntime", "threads": 2}
    assert load_options(Candidate("fp32", "openvino", 4, 1, 1)) == {"backend": "openvino", "threads": 4}


def test_layout_and_graphs_are_among_the_arguments_of_load() -> None:
    plain, graphs = (
        Candidate("fp32", "onnxruntime", 2, 1, 1, "plain"),
        Candidate("x", "tensorrt", 0, 2, 1, "auto", True),
    )
    assert load_options(plain) == {"backend": "onnxruntime", "threads": 2, "layout": "plain"}
    assert load_options(graphs) == {"backend": "tensorrt", "cuda_graphs": True}


def test_figures_and_breaches() -> None:
    candidate = Candidate("fp32", "onnxruntime", 2, 2, 4)
    record = Record(samples=[0.01] * 99 + [0.1], memory=10)
    found = figures(candidate, record)
    assert found is not None and found.p50 == 0.01 and found.throughput == pytest.approx(8 / 0.01)
    assert breach(candidate, record, Bounds()) == "" and figures(candidate, Record()) is None
    assert "more than 10 ms" in breach(candidate, record, Bounds(max_latency=0.01))


def test_records_survive_the_file(tmp_path: Path) -> None:
    state = State(tmp_path / "s.json", "task", {"a": Record(PROVEN, drop=(0.1, None, 0.2), rounds=[[1.0], []])})
    state.standing.out["b"] = "slower"
    state.save()
    again = open_state(state.path, "task")
    assert again.records == state.records and again.standing == state.standing
