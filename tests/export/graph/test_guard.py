"""A pass that changes what a model computes is skipped and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph import guard
from rectexport.exporter.graph.guard import (
    ChangedByPreparation,
    Watch,
    has_quantized_layer,
    quantizing_node,
    run_passes,
)
from rectexport.exporter.passes import Code, Pass, PassResult, Refusal, rectify_fold, rectify_graph
from rectexport.runtime.errors import BadInput
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
    shift_a_bias: "it changed output z: relative L2",
    rename_output: "it changed the model's inputs or outputs",
    rename_input: "it changed the model's inputs or outputs",
    retype_output: "it changed the model's inputs or outputs",
    crop_output: "it changed the shape of output z: [1, 2, 3, 4], was [1, 2, 3, 3]",
    forget_an_input: "it made an invalid model",
    unknown_operator: "it made an invalid model",
    make_nan: "it changed output z: relative L2 inf",
}


def check_skipped(
    model: ModelProto, wrong: Pass, reason: str, before: Sequence[Pass] = (), feeds: Any = FEEDS
) -> ModelProto:
    """Run passes and a wrong one at the end: it is skipped and named, and the model is what the others made of it."""
    log = Log()
    rightly, _ = run_passes(model, before, feeds, Log())
    found, results = run_passes(model, [*before, wrong], feeds, log)
    assert found == rightly
    assert not results[-1].fired and results[-1].name == wrong.name
    assert [entry.code for entry in results[-1].refused] == [Code.GUARD]
    assert results[-1].refused[0].reason.startswith(reason)
    assert any(line.strip().startswith(f"pass {wrong.name} is skipped: {reason}") for line in log.lines)
    return found


@pytest.mark.parametrize("change", CAUGHT)
def test_a_wrong_pass_is_skipped_and_named(change: Callable[[ModelProto], None]) -> None:
    check_skipped(network(), breaking(change), CAUGHT[change], passes_after_lowering()[:1])


@pytest.mark.parametrize("change", CAUGHT)
def test_passes_after_a_skipped_one_go_on(change: Callable[[ModelProto], None]) -> None:
    right, _ = run_passes(network(), passes_after_lowering(), FEEDS, Log())
    found, results = run_passes(network(), [breaking(change), *passes_after_lowering()], FEEDS, Log())
    assert found == right
    assert not results[0].fired and any(result.fired for result in results[1:])


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
    check_skipped(model, breaking(transposed), "it changed output z")


def test_the_pass_after_a_good_one_is_the_one_named() -> None:
    passes = [*passes_after_lowering(), breaking(shift_a_bias, "last")]
    model = network()
    model.graph.initializer.append(numpy_helper.from_array(normal(2, seed=5), "unused"))
    check_skipped(model, passes[-1], "it changed output z", passes[:-1])


def test_a_change_is_caught_on_any_feed() -> None:
    def drop_the_rest(model: ModelProto) -> None:
        """Right for a batch of one only."""
        model.graph.node[-1].output[0] = "all"
        first = numpy_helper.from_array(np.array([0], np.int64), "first")
        model.graph.initializer.append(first)
        model.graph.node.append(helper.make_node("Gather", ["all", "first"], ["z"], axis=0))

    run_passes(network(), [breaking(drop_the_rest)], FEEDS[:1], Log())
    reason = "it changed the shape of output z: [1, 2, 3, 3], was [3, 2, 3, 3]"
    check_skipped(network(), breaking(drop_the_rest), reason)


def test_a_pass_that_does_not_report_its_changes_is_caught() -> None:
    check_skipped(network(), breaking(shift_a_bias, fired=()), "it changed output z")


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
    check_skipped(model, breaking(second), "it changed output z", feeds=[{"x": normal(2, 2)}])


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
        run_passes(model, [breaking(lambda _: None)], [{"x": normal(1, 2)}], Log())


def test_without_inputs_a_pass_that_fires_is_skipped() -> None:
    watch = Watch(network(), "input x is a sequence")
    model, results = run_passes(network(), passes_after_lowering(), (), Log(), watch=watch)
    assert model == network()
    reasons = {entry.reason for result in results for entry in result.refused if entry.code is Code.GUARD}
    assert reasons == {"its effect cannot be compared: input x is a sequence"}


def test_a_model_that_cannot_be_compared_keeps_its_nodes() -> None:
    model = network()
    model.graph.node[-1].op_type = "Unheard"
    found, results = run_passes(model, [breaking(lambda _: None)], (), Log(), watch=Watch(model, FEEDS, strict=False))
    assert found is model
    assert results[0].refused[0].reason.startswith("its effect cannot be compared: the model does not run")


def test_a_preparation_that_changes_the_outputs_is_reported() -> None:
    prepared = copied(network())
    shift_a_bias(prepared)
    with pytest.raises(ChangedByPreparation, match="it changed output z"):
        run_passes(prepared, passes_after_lowering(), FEEDS, Log(), watch=Watch(network(), FEEDS))


def test_one_of_our_passes_that_fails_inside_is_skipped() -> None:
    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        raise IndexError("list index out of range")

    model, results = run_passes(network(), [Pass("careless", run, "prepare")], FEEDS, Log())
    assert model == network()
    assert "it failed with IndexError: list index out of range; this is a bug" in results[0].refused[0].reason
    with pytest.raises(IndexError):
        run_passes(network(), [Pass("the user's", run)], FEEDS, Log())


@pytest.mark.parametrize(("dtype", "change", "kept"), [
    ("float16", 1e-3, True), ("float16", 5e-2, False), ("float32", 1e-3, False), ("float32", 1e-7, True)
])  # fmt: skip
def test_bounds_follow_the_type(dtype: str, change: float, kept: bool) -> None:
    factor = np.ones(1, dtype)
    name = dtype.removesuffix("32")
    model = build(f"({name}[N,64] x) => ({name}[N,64] y)", "y = Mul(x, f)", f=factor)

    def scale(rewritten: ModelProto) -> None:
        rewritten.graph.initializer[0].CopyFrom(numpy_helper.from_array((factor + change).astype(dtype), "f"))

    _, results = run_passes(model, [breaking(scale)], [{"x": normal(2, 64, dtype=dtype)}], Log(), tolerance=1e-6)
    assert bool(results[0].fired) is kept


def test_rounding_of_a_badly_conditioned_graph_is_judged_in_float64() -> None:
    """(x + c) - c loses digits in any order; what is left alone is as far from the exact result."""
    model = build("(float[N,64] x) => (float[N,64] y)", "a = Add(x, c)\n y = Sub(a, c)", c=np.full(1, 1e4, np.float32))

    def reorder(rewritten: ModelProto) -> None:
        rewritten.graph.node[0].op_type, rewritten.graph.node[1].op_type = "Sub", "Add"

    def forget(rewritten: ModelProto) -> None:
        rewritten.graph.node[1].op_type = "Abs"
        del rewritten.graph.node[1].input[1:]

    feeds = [{"x": normal(2, 64)}]
    _, results = run_passes(model, [breaking(reorder)], feeds, Log())
    assert results[0].fired
    check_skipped(model, breaking(forget), "it changed output y", feeds=feeds)


def test_random_numbers_elsewhere_are_the_same_on_both_sides() -> None:
    signature = "(float[N,2] x) => (float[N,2] y, float[N,2] z, float[N,2] r)"
    body = "r = RandomNormalLike(x)\n z = Add(r, x)\n y = Mul(x, f)"
    model = build(signature, body, f=np.ones(1, np.float32))

    def scale(rewritten: ModelProto) -> None:
        rewritten.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full(1, 1.1, np.float32), "f"))

    def double(rewritten: ModelProto) -> None:
        rewritten.graph.node[1].op_type = "Sub"

    feeds = [{"x": normal(2, 2)}]
    _, results = run_passes(model, [breaking(lambda _: None)], feeds, Log())
    assert results[0].fired
    check_skipped(model, breaking(scale), "it changed output y", feeds=feeds)
    check_skipped(model, breaking(double), "it changed output z", feeds=feeds)


def test_sequences_are_compared() -> None:
    model = build("(float[2,2] x) => (float[2,2] y)", "y = Mul(x, f)", f=np.ones(1, np.float32))
    model.graph.node.append(helper.make_node("SplitToSequence", ["y"], ["s"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", 1, None))

    def scale(rewritten: ModelProto) -> None:
        rewritten.graph.node[-1].input[0] = "x"
        rewritten.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full(1, 2, np.float32), "f"))

    feeds = [{"x": normal(2, 2)}]
    _, results = run_passes(model, [breaking(lambda _: None)], feeds, Log())
    assert results[0].fired
    check_skipped(model, breaking(scale), "it changed output y", feeds=feeds)


def test_models_beyond_protobuf_are_left_to_the_parity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_BYTES", 10)
    _, results = run_passes(network(), [breaking(shift_a_bias)], FEEDS, Log())
    assert results[0].fired


def in_parts(*passes: Pass) -> Pass:
    """Passes that run as one, with one result."""

    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        fired: list[str] = []
        for entry in passes:
            model, result = entry.run(model)
            fired += result.fired
        return model, PassResult("together", tuple(fired))

    return Pass("together", run, "raise", parts=passes)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_only_the_part_that_changes_outputs_is_skipped(place: int) -> None:
    parts = passes_after_lowering()[:3]
    right, _ = run_passes(network(), parts, FEEDS, Log())
    mixed = [*parts[:place], breaking(shift_a_bias), *parts[place:]]
    found, results = run_passes(network(), [in_parts(*mixed)], FEEDS, Log())
    assert found == right
    assert [result.name for result in results] == [entry.name for entry in mixed]
    assert [result.name for result in results if result.skipped] == ["careless"]


def test_parts_that_agree_stay_one_pass() -> None:
    _, results = run_passes(network(), [in_parts(*passes_after_lowering())], FEEDS, Log())
    assert [result.name for result in results] == ["together"] and results[0].fired


def test_only_the_part_that_fails_inside_is_skipped() -> None:
    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        raise IndexError("list index out of range")

    parts = passes_after_lowering()[:3]
    right, _ = run_passes(network(), parts, FEEDS, Log())
    found, results = run_passes(network(), [in_parts(Pass("careless", run, "raise"), *parts)], FEEDS, Log())
    assert found == right
    assert [result.name for result in results if result.skipped] == ["careless"]


@pytest.mark.parametrize("given", [True, False])
def test_random_numbers_inside_a_subgraph_leave_the_model_alone(given: bool) -> None:
    branch = "g () => (float[2,2] {0}) {{ {0} = {1}(x) }}"
    branches = f"then_branch = {branch.format('t', 'RandomNormalLike')}, else_branch = {branch.format('e', 'Neg')}"
    model = build("(float[2,2] x, bool c) => (float[2,2] y)", f"a = If<{branches}>(c)\n y = Relu(a)")
    feeds = [{"x": normal(2, 2), "c": np.array(True)}]
    watch = Watch(model, feeds) if given else None
    found, results = run_passes(model, [breaking(lambda _: None)], feeds, Log(), watch=watch)
    assert found is model and results[0].skipped
    assert "RandomNormalLike draws random numbers inside a subgraph" in results[0].refused[-1].reason


def test_what_is_logged() -> None:
    def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
        refused = (Refusal("a", "dynamic"), Refusal("b", "dynamic"), Refusal("c", "constant"))
        return model, PassResult("try", (), refused)

    log = Log()
    run_passes(network(), [Pass("try", run), Pass("graph", rectify_graph.run)], FEEDS, log)
    assert log.lines == ["  try: fired 0, refused 3 (constant; dynamic)", "  rectify_graph: fired 1"]


def runs_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models ONNX Runtime has run, by number of nodes."""
    seen: list[int] = []
    right = guard._outputs

    def noted(model: ModelProto, feeds: Any) -> Any:
        seen.append(len(model.graph.node))
        return right(model, feeds)

    monkeypatch.setattr(guard, "_outputs", noted)
    return seen


def test_right_passes_are_compared_once_and_the_reference_runs_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, model = runs_of(monkeypatch), network()
    passes = [*(breaking(lambda _: None, name) for name in "abc"), *passes_after_lowering()]
    one_by_one, _ = run_passes(model, passes, FEEDS, Log())
    per_pass, watch = len(seen), Watch(model, FEEDS)
    for _ in range(2):
        watch.restart()
        found = guard.run_at_once(model, passes, watch)
        assert found is not None and found[0].SerializeToString() == one_by_one.SerializeToString()
    assert len(seen) - per_pass == 3 < per_pass  # the reference, and the result twice


def test_a_wrong_pass_among_right_ones_is_left_to_the_comparison_of_each() -> None:
    watch = Watch(network(), FEEDS)
    for bad in (breaking(shift_a_bias), breaking(rename_output), Pass("fails", lambda model: 1 // 0, "prepare")):
        assert guard.run_at_once(network(), [bad, *passes_after_lowering()], watch) is None
        watch.restart()
        _, results = run_passes(network(), [bad, *passes_after_lowering()], FEEDS, Log(), watch=watch)
        assert [entry.name for entry in results if entry.skipped] == [bad.name]
        watch.restart()
    assert guard.run_at_once(network(), passes_after_lowering(), watch) is not None


def test_a_model_that_does_not_run_is_reported_by_the_comparison_of_each() -> None:
    watch = Watch(network(), [{"x": normal(1, 2)}])
    assert guard.run_at_once(network(), passes_after_lowering(), watch) is None
    with pytest.raises(BadInput):
        run_passes(network(), passes_after_lowering(), FEEDS, Log(), watch=watch)


QUANTIZED = {
    "values between operators": ("q = QuantizeLinear(x, s) d = DequantizeLinear(q, s) y = Conv(d, w)", True, False),
    "a convolution's weights": ("d = DequantizeLinear(k, s) y = Conv(x, d)", True, True),
    "whole numbers": ("u, t, z = DynamicQuantizeLinear(x) i = ConvInteger(u, v) y = Cast<to = 1>(i)", True, True),
    "nothing": ("y = Conv(x, w)", False, False),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_what_is_quantized_is_told_from_layers_that_are(name: str) -> None:
    body, some, layers = QUANTIZED[name]
    ones = np.ones((2, 2, 1, 1))
    stored = {"w": ones.astype(np.float32), "k": ones.astype(np.int8), "v": ones.astype(np.uint8)}
    values = {**stored, "s": np.float32(0.5)}
    model = build("(float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)", body, **values)
    assert (quantizing_node(model) is not None, has_quantized_layer(model)) == (some, layers)
