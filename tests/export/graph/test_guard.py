"""A pass that changes what a model computes is caught and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph import guard
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.passes import Pass, PassResult, Refusal, rectify_fold, rectify_graph
from rectexport.runtime.errors import BadInput, ParityError
from tests.export.helper import build, constants, normal, passes_after_lowering

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"


def network(dims: str = "4,4", **changed: Any) -> ModelProto:
    """Rectified and then plain convolution, on a square plane."""
    body = f"""
      y = Conv<pads=[1,1,1,1]>(x, w)
      q = rectexport.Rectify<{WINDOW}, empty_bias=1>(y, x, b)
      z = Conv<pads=[1,1,0,0]>(q, w, b)
    """
    values = {"w": normal(2, 2, 3, 3), "b": normal(2, seed=1), **changed}
    return build(f"(float[N,2,{dims}] x) => (float[N,2,P,Q] z)", body, **values)


FEEDS = [{"x": normal(1, 2, 4, 4)}, {"x": normal(3, 2, 4, 4, seed=1)}]


def copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def breaking(change: Callable[[ModelProto], None], name: str = "careless", fired: tuple[str, ...] = ("here",)) -> Pass:
    """A pass that makes one change."""

    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        rewritten = copied(model)
        change(rewritten)
        return rewritten, PassResult(name, fired)

    return Pass(name, run)


def shift_a_bias(model: ModelProto) -> None:
    for entry in model.graph.initializer:
        if entry.name == "b":
            entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) + np.float32(1e-3), "b"))


def rename_output(model: ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "renamed"


def rename_input(model: ModelProto) -> None:
    model.graph.input[0].name = "renamed"
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = "renamed" if name == "x" else name


def retype_output(model: ModelProto) -> None:
    model.graph.node[-1].output[0] = "z32"
    model.graph.node.append(helper.make_node("Cast", ["z32"], ["z"], to=11))
    model.graph.output[0].type.tensor_type.elem_type = 11


def crop_output(model: ModelProto) -> None:
    for attribute in model.graph.node[-1].attribute:
        attribute.ints[:] = [1, 1, 0, 1]


def forget_an_input(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = "nowhere"


def unknown_operator(model: ModelProto) -> None:
    model.graph.node[-1].op_type = "Convolute"


def make_nan(model: ModelProto) -> None:
    model.graph.node[-1].output[0] = "last"
    model.graph.initializer.append(numpy_helper.from_array(np.full(1, np.nan, np.float32), "nan"))
    model.graph.node.append(helper.make_node("Add", ["last", "nan"], ["z"]))


CAUGHT = {
    shift_a_bias: "pass careless changed output z: relative L2",
    rename_output: "pass careless changed the model's inputs or outputs",
    rename_input: "pass careless changed the model's inputs or outputs",
    retype_output: "pass careless changed the model's inputs or outputs",
    crop_output: r"pass careless changed the shape of output z: \[1, 2, 3, 4\], was \[1, 2, 3, 3\]",
    forget_an_input: "pass careless made an invalid model",
    unknown_operator: "pass careless made an invalid model",
    make_nan: "pass careless changed output z: relative L2 inf",
}


@pytest.mark.parametrize("change", CAUGHT)
def test_a_wrong_pass_is_caught_and_named(change: Callable[[ModelProto], None]) -> None:
    with pytest.raises(ParityError, match=CAUGHT[change]) as caught:
        run_passes(network(), [*passes_after_lowering()[:1], breaking(change)], FEEDS, Log())
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("change", CAUGHT)
def test_a_wrong_pass_is_not_caught_without_the_guard(change: Callable[[ModelProto], None]) -> None:
    model, results = run_passes(network(), [breaking(change)], FEEDS, Log(), guard=False)
    expected = copied(network())
    change(expected)
    assert model == expected
    assert results == [PassResult("careless", ("here",))]


def test_factors_of_the_other_axis_are_caught() -> None:
    """On a square plane r.T fits; only the values tell."""

    def transposed(model: ModelProto) -> None:
        lowered, _ = rectify_fold.run(model)
        model.CopyFrom(lowered)
        for entry in model.graph.initializer:
            value = numpy_helper.to_array(entry)
            if value.shape == (1, 1, 4, 4):
                entry.CopyFrom(numpy_helper.from_array(value.transpose(0, 1, 3, 2).copy(), entry.name))

    model = network()
    for attribute in (*model.graph.node[0].attribute, *model.graph.node[1].attribute):
        if attribute.name == "pads":
            attribute.ints[:] = [2, 1, 0, 1]
    run_passes(model, [Pass("fold", rectify_fold.run)], FEEDS, Log())
    with pytest.raises(ParityError, match="pass careless changed output z"):
        run_passes(model, [breaking(transposed)], FEEDS, Log())


def test_the_pass_after_a_good_one_is_the_one_named() -> None:
    passes = [*passes_after_lowering(), breaking(shift_a_bias, "last")]
    model = network()
    model.graph.initializer.append(numpy_helper.from_array(normal(2, seed=5), "unused"))
    with pytest.raises(ParityError, match="pass last changed"):
        run_passes(model, passes, FEEDS, Log())


def test_a_change_is_caught_on_any_feed() -> None:
    def drop_the_rest(model: ModelProto) -> None:
        """Right for a batch of one only."""
        model.graph.node[-1].output[0] = "all"
        first = numpy_helper.from_array(np.array([0], np.int64), "first")
        model.graph.initializer.append(first)
        model.graph.node.append(helper.make_node("Gather", ["all", "first"], ["z"], axis=0))

    run_passes(network(), [breaking(drop_the_rest)], FEEDS[:1], Log())
    with pytest.raises(ParityError, match=r"changed the shape of output z: \[1, 2, 3, 3\], was \[3, 2, 3, 3\]"):
        run_passes(network(), [breaking(drop_the_rest)], FEEDS, Log())


def test_a_pass_that_does_not_report_its_changes_is_caught() -> None:
    with pytest.raises(ParityError, match="pass careless changed output z"):
        run_passes(network(), [breaking(shift_a_bias, fired=())], FEEDS, Log())


@pytest.mark.parametrize("dims", ["4,4", "H,W"])
def test_right_passes_pass(dims: str) -> None:
    log = Log()
    model, results = run_passes(network(dims), passes_after_lowering(), FEEDS, log)
    assert [result.name for result in results] == [entry.name for entry in passes_after_lowering()]
    assert {node.domain for node in model.graph.node} == {""}
    assert len(log.lines) == len(results)


def test_every_output_is_compared() -> None:
    def second(model: ModelProto) -> None:
        model.graph.node[1].op_type = "Abs"

    model = build("(float[N,2] x) => (float[N,2] y, float[N,2] z)", "y = Relu(x)\n z = Neg(x)")
    with pytest.raises(ParityError, match="pass careless changed output z"):
        run_passes(model, [breaking(second)], [{"x": normal(2, 2)}], Log())


def test_rounding_is_no_change() -> None:
    def nudge(model: ModelProto) -> None:
        for entry in model.graph.initializer:
            if entry.name == "w":
                value = numpy_helper.to_array(entry)
                entry.CopyFrom(numpy_helper.from_array(value * np.float32(1 + 1e-6), "w"))

    model, _ = run_passes(network(), [breaking(nudge)], FEEDS, Log())
    assert not np.array_equal(constants(model)["w"], normal(2, 2, 3, 3))


def test_a_model_that_does_not_run_is_not_blamed_on_a_pass() -> None:
    model = build("(float[N,2] x) => (float[N,2] y)", "y = Relu(x)")
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(BadInput, match="refuses it"):
        run_passes(model, passes_after_lowering(), [{"x": normal(1, 2)}], Log())


def test_models_beyond_protobuf_are_left_to_the_parity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_BYTES", 10)
    _, results = run_passes(network(), [breaking(shift_a_bias)], FEEDS, Log())
    assert results[0].fired


def test_what_is_logged() -> None:
    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        refused = (Refusal("a", "dynamic"), Refusal("b", "dynamic"), Refusal("c", "constant"))
        return model, PassResult("try", (), refused)

    log = Log()
    run_passes(network(), [Pass("try", run), Pass("graph", rectify_graph.run)], FEEDS, log)
    assert log.lines == ["  try: fired 0, refused 3 (constant; dynamic)", "  rectify_graph: fired 1"]
