"""What packages of random graphs and modules promise holds. `make differential` tries thousands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("openvino")

from rectexport.exporter.engine_facts.facts import facts
from rectexport.runtime.package.proofs import AGREES
from tests.differential.case import build
from tests.differential.drawn import trial
from tests.differential.drawn.graphs import Drawn, draw
from tests.differential.drawn.known import TESTS, Known
from tests.differential.drawn.modules import draw_module
from tests.differential.drawn.trial import Outcome, seeded, try_graph
from tests.differential.operators import normal

SAMPLES = [
    *(("graphs", range(first, first + 35)) for first in range(0, 140, 35)),
    ("optimized", range(140, 200)),
    ("modules", range(100, 103)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seeds"), SAMPLES, ids=str)
def test_every_promise_holds(kind: str, seeds: range) -> None:
    outcomes = [seeded(seed)[kind]() for seed in seeds]
    assert not [f"{outcome.name}: {line}" for outcome in outcomes for line in outcome.faults]
    agreeing = [engine for outcome in outcomes for engine in outcome.agreeing]
    assert agreeing.count("onnxruntime") > len(seeds) / 2
    assert sum(outcome.judged for outcome in outcomes) > 5 * len(agreeing)


def pooled() -> Drawn:
    """OpenVINO divides the last windows by more elements than there are."""
    pool = helper.make_node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1,
    )  # fmt: skip
    feeds = {"x": normal(1, 2, 8, 8) + 1}
    return Drawn(0, build([pool], feeds, {}, ["y"], 18), feeds, ())


def test_a_difference_is_admitted_or_avoided() -> None:
    assert try_graph(pooled(), "portable").others.keys() == {"openvino"}
    assert try_graph(pooled(), "openvino").agreeing == ["onnxruntime", "openvino"]


def test_a_false_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = trial.read_proofs
    monkeypatch.setattr(trial, "read_proofs", lambda data: [replace(proof, verdict=AGREES) for proof in read(data)])
    outcome = try_graph(pooled(), "portable")
    assert outcome.faults and all(line.startswith("openvino, output 0, inputs ") for line in outcome.faults)


def test_integers_that_follow_from_floats_are_compared() -> None:
    """OpenVINO cuts off at 81 quantization steps, and not at 3; no example reaches that."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Clip", ["d", "low", "high"], ["c"]),
        helper.make_node("Mul", ["c", "forty"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=6),
    ]
    numbers = {"scale": 0.037, "low": -3.0, "high": 3.0, "forty": 40.0}
    stored = {**{name: np.float32(value) for name, value in numbers.items()}, "zero": np.uint8(128)}
    feeds = {"x": np.clip(normal(1, 2, 4, 4), -2, 2)}
    outcome: Outcome = try_graph(Drawn(0, build(nodes, feeds, stored, ["y"], 18), feeds, ()), "portable")
    assert "case tenfold" in outcome.others["openvino"]


def test_a_seed_is_one_graph_and_one_module() -> None:
    assert draw(3).model == draw(3).model
    assert draw(3).model != draw(4).model
    assert str(draw_module(3).module) == str(draw_module(3).module)


def test_every_row_that_names_values_has_a_test() -> None:
    assert {fact.values for fact in facts()} - {"", "NaN"} == set(TESTS)


def test_values_excuse_only_what_depends_on_them() -> None:
    nodes = [helper.make_node("Ceil", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    model = build(nodes, {"x": normal(1, 2)}, {}, ["y", "z"], 18)
    small, usual = {"x": np.array([[1e-40, 1]], np.float32)}, {"x": np.array([[0.5, 1]], np.float32)}
    known = Known("openvino", model)
    assert known.explains(small, 0) and known.explains(small)
    assert not known.explains(small, 1)
    assert not known.explains(usual, 0)
    assert not Known("onnxruntime", model).explains(small, 0)


def test_a_graph_that_inferred_shapes_make_invalid_is_optimized() -> None:
    """Group normalizations of opset 18 are inferred to have a dtype and no shape, which ONNX's checker refuses."""
    outcome = seeded(20590)["optimized"]()
    assert outcome.judged and not outcome.faults
