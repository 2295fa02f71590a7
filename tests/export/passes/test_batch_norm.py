"""BatchNorm into the convolution before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.passes import PassResult, batch_norm
from rectexport.exporter.tracing.trace import trace
from rectexport.models import create_model
from rectexport.plugins import reference
from tests.export.helper import Array, build, check_pass, constants, normal, operators, outputs

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"
X = {"x": normal(2, 2, 5, 6)}
CONV = "y = Conv<pads=[1,1,1,1]>(x, w{c})"
NORM = "z = BatchNormalization<epsilon=0.001>({q}, scale, shift, mean, var)"
IN, OUT = "float[N,2,H,W] x", "float[N,3,H,W] z"


def statistics(channels: int = 3) -> dict[str, Array]:
    """A BatchNorm that moves everything, one channel with a negative scale, another with 0."""
    scale = np.linspace(-0.7, 1.9, channels).astype(np.float32)
    scale[-1] = 0
    return {
        "scale": scale,
        "shift": normal(channels, seed=2) + 1,
        "mean": normal(channels, seed=3),
        "var": normal(channels, seed=4) ** 2 + np.float32(0.5),
    }


def weights(*shape: int) -> dict[str, Array]:
    return {"w": normal(*shape, seed=5)}


def rectify(empty_bias: int = 1, numerator: int = 9) -> str:
    window = WINDOW.replace("numerator=9", f"numerator={numerator}")
    return f"q = rectexport.Rectify<{window}, empty_bias={empty_bias}>(y, x, b)"


def chain(*lines: str, **initializers: Array) -> ModelProto:
    return build(f"({IN}) => ({OUT})", "\n".join(lines), **initializers)


def refusal(result: PassResult) -> str:
    assert not result.fired
    (refused,) = result.refused
    return refused.reason


@pytest.mark.parametrize("bias", [False, True])
def test_plain_convolution(bias: bool) -> None:
    own = {"c": normal(3, seed=6)} if bias else {}
    model = chain(
        CONV.format(c=", c" if bias else ""), NORM.format(q="y"), **weights(3, 2, 3, 3), **statistics(), **own
    )
    model, result = check_pass(batch_norm.run, model, X)
    assert operators(model) == ["Conv"]
    assert len(result.fired) == 1 and not result.refused
    assert len(constants(model)) == 2


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_rectified_convolution_in_both_bias_modes(inside: bool, after: bool) -> None:
    values = {**weights(3, 2, 3, 3), **statistics(), "b": normal(3, seed=7) * np.float32(after)}
    if inside:
        values["c"] = normal(3, seed=6)
    model = chain(CONV.format(c=", c" if inside else ""), rectify(), NORM.format(q="q"), **values)
    folded, result = check_pass(batch_norm.run, model, X)
    assert operators(folded) == ["Conv", "Rectify"]
    assert len(result.fired) == 1
    (z,) = outputs(folded, X)
    bias = {"bias": values["c"], "bias_mode": "inside"} if inside else {"bias": values["b"]}
    y = reference.rectified_conv2d(X["x"], values["w"], pads=(1, 1, 1, 1), **bias)
    if inside:
        y = y + values["b"][:, None, None]
    affine = [values[name] for name in ("scale", "shift", "mean", "var")]
    np.testing.assert_allclose(z, reference.batch_norm(y, *affine, eps=1e-3), rtol=1e-4, atol=1e-5)


def test_the_shift_stays_behind_the_factors() -> None:
    """With weights of 0 the output is BatchNorm's shift at every pixel, not the shift times r."""
    values = {"w": np.zeros((3, 2, 3, 3), np.float32), **statistics(), "b": np.zeros(3, np.float32)}
    model, _ = check_pass(batch_norm.run, chain(CONV.format(c=""), rectify(), NORM.format(q="q"), **values), X)
    (z,) = outputs(model, X)
    assert np.ptp(z, axis=(0, 2, 3)).tolist() == [0, 0, 0]
    assert np.abs(z).min() > 0.01


def test_a_changed_tensor_loses_its_name() -> None:
    """The names say which values may be compared with PyTorch's."""
    values = {**weights(3, 2, 3, 3), **statistics(), "b": normal(3)}
    model, _ = batch_norm.run(chain(CONV.format(c=""), rectify(), NORM.format(q="q"), **values))
    left = {name for node in model.graph.node for name in (*node.input, *node.output)}
    assert left.isdisjoint({"y", "q", "w"})
    assert "z" in left


def test_shared_initializers_keep_their_values_for_the_others() -> None:
    body = (CONV.format(c=""), rectify(), "u = BatchNormalization(q, scale, shift, mean, var)", "v = Conv(u, w2)")
    other = "z = Conv<pads=[2,2,2,2]>(v, w2, b)"
    values = {**weights(3, 2, 3, 3), **statistics(), "b": normal(3, seed=8), "w2": normal(3, 3, 3, 3, seed=9)}
    model, result = check_pass(batch_norm.run, chain(*body, other, **values), X)
    assert len(result.fired) == 1
    np.testing.assert_array_equal(constants(model)["b"], values["b"])


def test_two_convolutions_that_share_weights_and_statistics() -> None:
    body = (
        "y = Conv<pads=[1,1,1,1]>(x, w)\n u = BatchNormalization(y, scale, shift, mean, var)",
        "p = Conv<pads=[1,1,1,1]>(u, w)\n z = BatchNormalization(p, scale, shift, mean, var)",
    )
    model = build(f"(float[N,3,H,W] x) => ({OUT})", "\n".join(body), **weights(3, 3, 3, 3), **statistics())
    model, result = check_pass(batch_norm.run, model, {"x": normal(2, 3, 5, 6)})
    assert len(result.fired) == 2
    assert operators(model) == ["Conv", "Conv"]


def test_two_norms_in_a_row() -> None:
    body = (
        CONV.format(c=""),
        rectify(),
        "u = BatchNormalization(q, scale, shift, mean, var)",
        "z = BatchNormalization(u, scale, shift, mean, var)",
    )
    values = {**weights(3, 2, 3, 3), **statistics(), "b": normal(3)}
    model, result = check_pass(batch_norm.run, chain(*body, **values), X)
    assert len(result.fired) == 2
    assert operators(model) == ["Conv", "Rectify"]


@settings(max_examples=15, deadline=None)
@given(groups=st.integers(1, 3), inputs=st.integers(1, 3), outs=st.integers(1, 3), numerator=st.sampled_from([1, 9]))
def test_groups(groups: int, inputs: int, outs: int, numerator: int) -> None:
    channels = groups * outs
    values = {**weights(channels, inputs, 3, 3), **statistics(channels), "b": normal(channels, seed=7)}
    body = (f"y = Conv<pads=[1,1,1,1], group={groups}>(x, w)", rectify(numerator=numerator), NORM.format(q="q"))
    model = build(f"(float[N,{groups * inputs},H,W] x) => (float[N,{channels},H,W] z)", "\n".join(body), **values)
    _, result = check_pass(batch_norm.run, model, {"x": normal(2, groups * inputs, 4, 5)})
    assert len(result.fired) == 1


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(rank: int) -> None:
    dims = "".join(f",D{axis}" for axis in range(rank))
    body = "y = Conv(x, w)\n" + NORM.format(q="y")
    model = build(
        f"(float[N,2{dims}] x) => (float[N,4{dims.replace('D', 'E')}] z)",
        body,
        **weights(4, 2, *[2] * rank),
        **statistics(4),
    )
    _, result = check_pass(batch_norm.run, model, {"x": normal(2, 2, *[5] * rank)})
    assert len(result.fired) == 1


@pytest.mark.parametrize("epsilon", [None, 0.5])
def test_epsilon(epsilon: float | None) -> None:
    values = {**weights(3, 2, 3, 3), **statistics(), "var": np.full(3, 1e-4, np.float32)}
    attribute = "" if epsilon is None else f"<epsilon={epsilon}>"
    norm = f"z = BatchNormalization{attribute}(y, scale, shift, mean, var)"
    _, result = check_pass(batch_norm.run, chain(CONV.format(c=""), norm, **values), X)
    assert len(result.fired) == 1


def test_float16_weights_stay_float16() -> None:
    values = {name: value.astype(np.float16) for name, value in {**weights(3, 2, 1, 1), **statistics()}.items()}
    body = "y = Conv(x, w)\n z = BatchNormalization(y, scale, shift, mean, var)"
    model = build("(float16[N,2,H,W] x) => (float16[N,3,H,W] z)", body, **values)
    folded, result = batch_norm.run(model)
    assert len(result.fired) == 1
    assert {value.dtype.name for value in constants(folded).values()} == {"float16"}
    x = {"x": X["x"].astype(np.float16)}
    np.testing.assert_allclose(outputs(folded, x)[0], outputs(model, x)[0], atol=0.02)


def usual(**changed: Array) -> dict[str, Array]:
    return {**weights(3, 2, 3, 3), **statistics(), "b": normal(3, seed=7), **changed}


def test_refused_where_another_node_reads_the_rectified_tensor() -> None:
    body = (CONV.format(c=""), rectify(), "u = BatchNormalization(q, scale, shift, mean, var)", "z = Add(u, q)")
    _, result = check_pass(batch_norm.run, chain(*body, **usual()), X)
    assert refusal(result) == "q is also used elsewhere"


def test_refused_where_another_node_reads_the_convolution() -> None:
    body = (CONV.format(c=""), rectify(), "u = BatchNormalization(q, scale, shift, mean, var)", "z = Add(u, y)")
    _, result = check_pass(batch_norm.run, chain(*body, **usual()), X)
    assert refusal(result) == "y is also used elsewhere"


@pytest.mark.parametrize("tensor", ["y", "q"])
def test_refused_where_the_graph_gives_the_tensor_out(tensor: str) -> None:
    body = "\n".join((CONV.format(c=""), rectify(), NORM.format(q="q")))
    model = build(f"({IN}) => ({OUT}, float[N,3,H,W] {tensor})", body, **usual())
    _, result = check_pass(batch_norm.run, model, X)
    assert refusal(result) == f"{tensor} is also used elsewhere"


def test_refused_where_a_branch_reads_the_tensor() -> None:
    branches = "then_branch = g () => (float[N,3,H,W] s) { s = Relu(y) }, "
    branches += "else_branch = h () => (float[N,3,H,W] t) { t = Neg(y) }"
    body = (CONV.format(c=""), NORM.format(q="y").replace("z =", "u ="), f"v = If<{branches}>(which)", "z = Add(u, v)")
    model = build(f"({IN}, bool which) => ({OUT})", "\n".join(body), **usual())
    _, result = check_pass(batch_norm.run, model, {**X, "which": np.array(True)}, {**X, "which": np.array(False)})
    assert refusal(result) == "y is also used elsewhere"


@pytest.mark.parametrize("name", ["w", "b"])
def test_refused_where_weights_are_computed(name: str) -> None:
    values = usual()
    shape = ",".join(map(str, values[name].shape))
    feeds = {**X, name: values.pop(name)}
    body = "\n".join((CONV.format(c=""), rectify(), NORM.format(q="q")))
    model = build(f"({IN}, float[{shape}] {name}) => ({OUT})", body, **values)
    _, result = check_pass(batch_norm.run, model, feeds)
    assert refusal(result) == "the convolution's weights are not constants"


def test_refused_where_statistics_are_computed() -> None:
    values = usual()
    feeds = {**X, "mean": values.pop("mean")}
    body = "\n".join((CONV.format(c=""), rectify(), NORM.format(q="q")))
    _, result = check_pass(batch_norm.run, build(f"({IN}, float[3] mean) => ({OUT})", body, **values), feeds)
    assert refusal(result) == "its statistics are not constants, or it runs in training mode"


def test_refused_in_training_mode() -> None:
    norm = "z, m, v = BatchNormalization<training_mode=1>(y, scale, shift, mean, var)"
    _, result = check_pass(batch_norm.run, chain(CONV.format(c=""), norm, **usual()), X)
    assert refusal(result) == "its statistics are not constants, or it runs in training mode"


def test_refused_where_empty_pixels_leave_the_bias_out() -> None:
    model = chain(CONV.format(c=""), rectify(empty_bias=0), NORM.format(q="q"), **usual())
    _, result = check_pass(batch_norm.run, model, X)
    assert "leaves its bias out at empty pixels" in refusal(result)


@pytest.mark.parametrize("before", ["Relu(v)", "ConvTranspose(v, w)", "rectexport.NegConcat<axis=1>(v)"])
def test_refused_where_no_convolution_stands_before(before: str) -> None:
    values = {**statistics(4), "w": normal(2, 4, 1, 1)} if "w" in before else statistics(4)
    channels = 2 if before != "Relu(v)" else 4
    model = build(
        f"(float[N,{channels},H,W] x) => (float[N,4,H,W] z)",
        f"v = Neg(x)\n y = {before}\n" + NORM.format(q="y"),
        **values,
    )
    _, result = check_pass(batch_norm.run, model, {"x": normal(1, channels, 3, 3)})
    assert refusal(result) == "no convolution stands right before it"


def test_refused_on_a_graph_input() -> None:
    model = build("(float[N,3,H,W] x) => (float[N,3,H,W] z)", NORM.format(q="x"), **statistics())
    _, result = check_pass(batch_norm.run, model, {"x": normal(1, 3, 3, 3)})
    assert refusal(result) == "no convolution stands right before it"


def test_a_norm_before_a_zero_padded_convolution_is_not_folded_forward() -> None:
    """Its shift does not reach the padding: as a bias it would be wrong along the border."""
    body = "u = BatchNormalization(x, scale, shift, mean, var)\n z = Conv<pads=[1,1,1,1]>(u, w)"
    values = {**statistics(), **weights(3, 3, 3, 3)}
    model = build(f"(float[N,3,H,W] x) => ({OUT})", body, **values)
    same, result = check_pass(batch_norm.run, model, {"x": normal(1, 3, 4, 4)})
    assert operators(same) == ["BatchNormalization", "Conv"]
    assert refusal(result) == "no convolution stands right before it"


def test_a_model_without_norms_is_left_alone() -> None:
    _, result = check_pass(batch_norm.run, chain("z = Conv<pads=[1,1,1,1]>(x, w)", **weights(3, 2, 3, 3)), X)
    assert result == PassResult("batch_norm")


def test_the_two_to_one_block_of_digits() -> None:
    """conv, BatchNorm, conv, BatchNorm without a ReLU between: each norm folds backwards, none forwards."""
    torch.manual_seed(0)
    net = create_model("digits", width=0.25).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    example = normal(2, 1, 8, 8)
    source = Source("module", net, "digits", input_names=["x"], example_inputs=(example,))
    model = trace(source, plan_inputs(source, ShapeOptions()).inputs, 18).model
    assert operators(model).count("BatchNormalization") == 4  # torch's exporter folds the two after plain convolutions
    folded, result = check_pass(batch_norm.run, model, {"x": example})
    assert len(result.fired) == 4 and not result.refused
    assert "BatchNormalization" not in operators(folded)


def test_labels_name_the_norm() -> None:
    model = chain(CONV.format(c=""), NORM.format(q="y"), **usual())
    _, result = batch_norm.run(model)
    assert result.fired == ("BatchNormalization→z",)
    model.graph.node[1].name = "stem.norm"
    _, result = batch_norm.run(model)
    assert result.fired == ("stem.norm",)


def test_custom_operators_of_the_same_name_are_left_alone() -> None:
    """A Rectify of another domain means something else."""
    model = chain(CONV.format(c=""), rectify(), NORM.format(q="q"), **usual())
    node: Any = model.graph.node[1]
    node.domain = "other"
    model.functions[0].domain = "other"
    model.functions[0].opset_import.append(helper.make_opsetid("other", 1))
    model.opset_import.append(helper.make_opsetid("other", 1))
    _, result = batch_norm.run(model)
    assert refusal(result) == "no convolution stands right before it"
