"""Deployments beside `rectexport tune`, and the share of rectification: what becomes of times; nothing is timed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from benchmarks import olive_foreign, rectified_share, tuning_rivals
from benchmarks.networks import EAGER
from benchmarks.tuning_rivals import LAUNCHES, OURS
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.runtime.timing.intervals import Interval
from rectexport.runtime.timing.stopwatch import Timing

FLOAT, INT8 = OURS.values()
OTHER = "torch.onnx.export, OpenVINO"


def timing(milliseconds: float) -> Timing:
    """Three rounds of each launch, which differ a little."""
    rounds = [milliseconds * 1e-3 * (1 + 1e-3 * launch) for launch in range(LAUNCHES) for _ in range(3)]
    return Timing(tuple(rounds), tuple(launch for launch in range(LAUNCHES) for _ in range(3)))


def result(**milliseconds: float) -> dict:
    names = {"eager": EAGER, "other": OTHER, "olive": "Olive, int8", "own": FLOAT, "own8": INT8}
    times = {names[key]: timing(value) for key, value in milliseconds.items()}
    return {
        "network": "resnet50",
        "side": 224,
        "date": "2026-12-01",
        "machine": "Measured here.",
        "olive": "Olive 1 with ONNX Runtime 2",
        "chosen": {FLOAT: "fp32, openvino, 2 threads, batch 1"},
        "noise": {INT8: 31.25},
        "failed": {"Olive, float32": "it broke"},
        **tuning_rivals.figures(times),
    }


def test_every_deployment_has_its_time_and_the_ratios_to_ours():
    found = result(eager=400, other=110, own=100, own8=40)
    assert found["ms"][OTHER] == pytest.approx([110.3, 110.1, 110.5], abs=0.2)
    assert found["faster"][FLOAT][0] == pytest.approx(4)
    assert found["ours"][INT8][OTHER][0] == pytest.approx(40 / 110)
    text = tuning_rivals.section(json.loads(json.dumps(found)))
    assert "| PyTorch eager | 401.0 (" in text and "| – | 1 | 0.25 (0.25 – 0.25) | 0.10 (0.10 – 0.10) |" in text
    assert "| 31.2 |" in text and "- Olive, float32: did not run: it broke" in text
    assert f"- {FLOAT}: fp32, openvino, 2 threads, batch 1" in text


def test_the_goals_are_judged_by_the_intervals():
    text = tuning_rivals.goals(result(eager=400, other=110, own=100))
    assert "4.00 times as fast as PyTorch eager" in text and "the goal is met" in text
    assert text.endswith("slower than none of the others.")
    text = tuning_rivals.goals(result(eager=300, other=90, olive=40, own=100, own8=50))
    assert "the goal is missed), slower than torch.onnx.export, OpenVINO (1.11" in text  # int8 is no rival of float32
    assert "the goal is met), slower than Olive, int8 (1.25" in text


def test_signal_to_noise():
    assert tuning_rivals.decibels([[3.0, 4.0]], [[3.0, 4.5]]) == pytest.approx(20)
    assert tuning_rivals.decibels([[3.0, 4.0]], [[3.0, 4.0]]) == 200


def test_session_options_are_those_that_olive_chose():
    ort = pytest.importorskip("onnxruntime")
    from benchmarks.default_worker import session_options

    asked = {
        "execution_mode": 1,
        "graph_optimization_level": 99,
        "intra_op_num_threads": 2,
        "inter_op_num_threads": None,
    }
    found = session_options({**asked, "extra_session_config": {"session.intra_op.allow_spinning": "0"}})
    assert found.execution_mode == ort.ExecutionMode.ORT_PARALLEL and found.intra_op_num_threads == 2
    assert found.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session_options({}).intra_op_num_threads == 0


def test_olive_searches_int8_over_the_quantization():
    assert "quantization" not in olive_foreign.passes("float32")
    passes = olive_foreign.passes("int8")
    assert list(passes) == ["peephole", "quantization", "tuning"]
    assert passes["quantization"]["per_channel"]["support"] == [True, False]


def test_the_share_is_what_the_twin_does_not_need():
    assert rectified_share.share(Interval(1.25, 1.0, 2.0)) == pytest.approx([0.2, 0.0, 0.5])
    layers = [
        SimpleNamespace(seconds=1.0, nodes=(f"{SCALE_PREFIX}.z",)),
        SimpleNamespace(seconds=2.0, nodes=("conv", f"{SCALE_PREFIX}.z")),
        SimpleNamespace(seconds=4.0, nodes=()),
    ]
    found = SimpleNamespace(layers=layers)
    assert rectified_share.of_r(found) == 1 and rectified_share.in_layers(found) == 7


@pytest.mark.parametrize(("low", "said"), [(0.19, "yes"), (0.21, "no")])
def test_the_share_must_lie_within_the_measured_interval(low, said):
    row = {"alone": 0.05, "profile": [0.2, 0.18, 0.22], "bench": [0.23, low, 0.25]}
    text = rectified_share.section("resnet50", {"onnxruntime": row})
    assert f"| ONNX Runtime | 5.0% | 20.0% (18.0% – 22.0%) | 23.0% ({low:.1%} – 25.0%) | {said} |" in text


def test_launches_take_turns(monkeypatch):
    monkeypatch.setattr(rectified_share, "profile", lambda order, how, tick: list(order))
    assert rectified_share.profiled(("a", "b"), None, 0) == rectified_share.profiled(("a", "b"), None, 1) == ("a", "b")
