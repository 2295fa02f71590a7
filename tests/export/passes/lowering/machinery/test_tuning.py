"""Tuning follows the figures it is given, remembers them, and never trades a sure thing for noise."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, lower
from rectexport.exporter.passes.lowering.machinery.cache import Cache
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.exporter.passes.lowering.machinery.tuning import (
    ForcedForm,
    distinct_sites,
    tuned_costs,
    unreadable_forms,
)
from rectexport.models.layers.symmetry import group_pads
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.timing import stopwatch
from rectexport.runtime.timing.stopwatch import Timing


def net(channels=8, size=16, batch=2):
    """Conv, CReLU, C2sp conv, ReLU, C2sp conv."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    pad = {"domain": "rectexport", "splits": [channels // 4] * 4, "pads": group_pads(2)}
    nodes = [
        node("Conv", ["x", "w1"], ["a"], "one", pads=[1, 1, 1, 1]),
        node("CRelu", ["a"], ["b"], "crelu", domain="rectexport", axis=1),
        node("Conv", ["b", "w2"], ["c"], "two", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["d"], "relu1"),
        node("SymmetricPad", ["d"], ["e"], "pad1", **pad),
        node("Conv", ["e", "w3"], ["f"], "three"),
        node("Relu", ["f"], ["g"], "relu2"),
        node("SymmetricPad", ["g"], ["h"], "pad2", **pad),
        node("Conv", ["h", "w3"], ["y"], "four"),
    ]
    weights = {
        "w1": (channels, channels, 3, 3),
        "w2": (channels, 2 * channels, 3, 3),
        "w3": (channels, channels, 2, 2),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [value("x", 1, [batch, channels, size, size])],
        [value("y", 1, None)],
        [onnx.numpy_helper.from_array(rng.standard_normal(s, np.float32), name) for name, s in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    from rectexport.exporter.graph import dialect

    dialect.attach_functions(model)
    return infer_shapes(model)


class FakeClock:
    """Says what each form takes, relative to as written."""

    def __init__(self, jitter=0.0, **ratios):
        self.ratios, self.jitter, self.asked = ratios, jitter, []

    def __call__(self, models, engine, *, seconds):
        self.asked.append(tuple(models))
        wobble = (1 - self.jitter, 1.0, 1.0, 1 + self.jitter)
        return {
            name: Timing(tuple(0.01 * self.ratios.get(name, 1.0) * (w if name != AS_WRITTEN else 1) for w in wobble))
            for name in models
        }


def forms(model, clock, path, target="onnxruntime"):
    feeds = {"x": np.zeros([d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim], np.float32)}
    costs = tuned_costs(model, target, feeds, Log(), clock, Cache(path))
    return {decision.node: decision.taken for decision in lower(model, costs)[2]}


@pytest.mark.parametrize(
    ("ratios", "pad", "crelu"),
    [
        ({}, AS_WRITTEN, AS_WRITTEN),
        ({"shift": 0.7, "embedded": 0.9, "halves": 1.5}, "shift", AS_WRITTEN),
        ({"embedded": 0.5, "shift": 0.7, "doubled": 0.8}, "embedded", "doubled"),
        ({"four_convs": 0.6, "halves": 0.9, "doubled": 1.9}, "four_convs", "halves"),
    ],
)
def test_the_choice_follows_the_figures(tmp_path, ratios, pad, crelu):
    taken = forms(net(), FakeClock(**ratios), tmp_path / "cache.json")
    assert taken["pad1"] == taken["pad2"] == pad
    assert taken["crelu"] == crelu


def test_a_win_within_the_noise_is_no_win(tmp_path):
    ratios = {"shift": 0.9, "halves": 0.9}
    assert forms(net(), FakeClock(jitter=0.0, **ratios), tmp_path / "sure.json")["pad1"] == "shift"
    assert forms(net(), FakeClock(jitter=0.3, **ratios), tmp_path / "noisy.json")["pad1"] == AS_WRITTEN


def test_a_model_that_became_slower_is_exported_as_written(tmp_path):
    taken = forms(net(), FakeClock(shift=0.5, tuned=1.2), tmp_path / "cache.json")
    assert set(taken.values()) == {AS_WRITTEN}


def test_figures_are_remembered_by_shape_and_target(tmp_path):
    path = tmp_path / "below" / "cache.json"
    clock = FakeClock(shift=0.7)
    forms(net(), clock, path)
    assert len(clock.asked) == 3  # one symmetric shape, one CReLU, the whole model
    again = FakeClock(shift=0.7)
    forms(net(), again, path)
    assert again.asked == []
    forms(net(size=20), again, path)
    assert len(again.asked) == 3
    forms(net(), again, path, "openvino")
    assert len(again.asked) == 6
    assert [entry.name for entry in path.parent.iterdir()] == ["cache.json"]
    assert all("machine" in key and "versions" in key for key in json.loads(path.read_text()))


def test_a_broken_cache_counts_as_empty(tmp_path):
    path = tmp_path / "cache.json"
    path.write_text("{")
    assert forms(net(), FakeClock(shift=0.7), path)["pad1"] == "shift"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert forms(net(), FakeClock(shift=0.7), blocked / "cache.json")["pad1"] == "shift"


def test_open_sizes_take_those_of_the_feeds(tmp_path):
    model = net()
    for axis, name in ((0, "N"), (2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    model = infer_shapes(model)
    costs = tuned_costs(
        model, "onnxruntime", {"x": np.zeros((1, 8, 12, 12))}, Log(), FakeClock(shift=0.7), Cache(tmp_path / "c.json")
    )
    taken = {decision.node: decision.taken for decision in lower(model, costs)[2]}
    assert taken["pad1"] == "shift"


def test_targets_that_cannot_be_timed_on_this_machine(tmp_path):
    with pytest.raises(UsageError, match="tensorrt cannot be timed here"):
        forms(net(), FakeClock(), tmp_path / "cache.json", "tensorrt")


def test_excerpts_compute_what_their_forms_compute(lab):
    cuts = distinct_sites(net())
    assert sorted(operator.name for operator, _ in cuts) == ["crelu", "symmetric_conv"]
    for (operator, _), sample in cuts.items():
        cut = sample.model
        x = np.random.default_rng(0).standard_normal((2, 8, 16, 16)).astype(np.float32)
        assert cut.graph.node[0].op_type == "Conv"
        before = lab.evaluate(cut, x)
        for form in operator.forms:
            lowered, decision = lab.apply(cut, form.name)
            expected = form.name if form.name in sample.forms else AS_WRITTEN
            assert decision.taken == expected
            assert lab.relative(before, lab.evaluate(lowered, x)) <= 1e-6


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_stopwatch_times_each_model_in_turn(engine):
    pytest.importorskip(engine)
    small, large = (
        lowered_bytes(net(channels=8, size=8)),
        lowered_bytes(net(channels=32, size=32)),
    )
    ticks = []
    times = stopwatch.measure(
        {"small": small, "large": large},
        engine,
        seconds=0.2,
        burst=0.002,
        threads=1,
        tick=lambda: ticks.append(1),
    )
    assert len(times["small"].rounds) == len(times["large"].rounds) == len(ticks) >= stopwatch.LEAST_ROUNDS
    assert times["large"].against(times["small"]).ratio > 1
    with pytest.raises(BadInput, match="broken: "):
        stopwatch.measure({"broken": b"no model"}, engine, seconds=0.1)


def lowered_bytes(model):
    from rectexport.exporter.passes.lowering.machinery.tuning import finished

    return finished(model).SerializeToString()


def test_decisions_are_plain_values():
    _, _, decisions = lower(net(), _nothing())
    document = json.loads(json.dumps([decision.as_dict() for decision in decisions]))
    assert [entry["taken"] for entry in document] == [AS_WRITTEN] * 3
    assert document[0]["shape"]["channels"] == 8
    assert len(lower(net(), _nothing())[2]) == 3  # each run has decisions of its own


def _nothing():
    from rectexport.exporter.passes.lowering import load_costs

    return load_costs("portable")


def test_forms_that_an_engine_without_its_own_file_cannot_read():
    assert unreadable_forms(("onnxruntime",)) == unreadable_forms(("onnxruntime", "tensorrt")) == {"pad"}
    assert unreadable_forms(("onnxruntime", "openvino")) == frozenset()


def test_forms_that_are_left_out_have_no_cost():
    kept = PassContext(measured=ForcedForm("pad"))
    left_out = PassContext(measured=ForcedForm("pad"), without=frozenset({"pad"}))
    assert kept.costs.ratio("circular", "pad", None) == 0.0
    assert left_out.costs.ratio("circular", "pad", None) is None
    both = PassContext(precision="fp16", measured=ForcedForm("blocked"), without=frozenset({"pad"}))
    assert both.costs.ratio("rectify", "blocked", None) is None
