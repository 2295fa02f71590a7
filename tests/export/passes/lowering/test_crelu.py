"""CReLU: every form against the NumPy reference, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.selection import lower
from rectexport.plugins import reference
from tests.export.helper import build, outputs, relative_l2

node = helper.make_node
WINDOW = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}


def leaky(slope):
    return lambda x: np.where(x > 0, x, slope * x)


@st.composite
def cases(draw):
    return {
        "channels": draw(st.integers(1, 5)),
        "middle": draw(st.integers(1, 5)),
        "outputs": draw(st.integers(1, 4)),
        "size": (draw(st.integers(1, 40)), draw(st.integers(1, 40))),
        "batch": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "rectified": draw(st.booleans()),
        "slope": draw(st.sampled_from((None, 0.0, 0.125))),
        "equal": draw(st.booleans()),
        "stride": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 99)),
    }


def nodes_of(case):
    """x → conv (rectified) → CReLU → conv."""
    nodes = [node("Conv", ["x", "w1", *(["b1"] if case["bias"] else [])], ["y"], "first", **window("Conv"))]
    y = "y"
    if case["rectified"]:
        nodes.append(
            node("Rectify", ["y", "x", "shift"], ["z"], "r", domain="rectexport", numerator=9, empty_bias=1, **WINDOW)
        )
        y = "z"
    if case["slope"] is None:
        nodes.append(node("CRelu", [y], ["c"], "crelu", domain="rectexport", axis=1))
    else:
        nodes.append(node("NegConcat", [y], ["n"], "both", domain="rectexport", axis=1))
        act = (
            node("LeakyRelu", ["n"], ["c"], "act", alpha=case["slope"])
            if case["slope"]
            else node("Relu", ["n"], ["c"], "act")
        )
        nodes.append(act)
    nodes.append(node("Conv", ["c", "w2"], ["out"], "second", strides=[case["stride"]] * 2, pads=[1, 1, 1, 1]))
    return nodes


def window(op):
    return {key: value for key, value in WINDOW.items() if key != "numerator"}


def constants_of(case, rng):
    second = rng.standard_normal((case["outputs"], 2 * case["middle"], 3, 3))
    if case["equal"]:
        second[:, case["middle"] :] = second[:, : case["middle"]]
    return {
        "w1": rng.standard_normal((case["middle"], case["channels"], 3, 3)),
        "w2": second,
        **({"b1": rng.standard_normal(case["middle"])} if case["bias"] else {}),
        **({"shift": rng.standard_normal(case["middle"])} if case["rectified"] else {}),
    }


def expected_of(case, values, x):
    y = reference.conv2d(x, values["w1"], values.get("b1"), pads=(1, 1, 1, 1))
    if case["rectified"]:
        y = reference.rectify(y, x.shape, values["shift"], (3, 3), pads=(1, 1, 1, 1))
    c = reference.crelu(y, leaky(case["slope"] or 0.0))
    return reference.conv2d(c, values["w2"], None, (case["stride"],) * 2, (1, 1, 1, 1))


@settings(max_examples=60, deadline=None)
@given(case=cases(), form=st.sampled_from(("halves", "parted", "doubled", "nothing")))
def test_forms_agree_with_the_reference(lab, case, form):
    rng = np.random.default_rng(case["seed"])
    values = constants_of(case, rng)
    x = rng.standard_normal((case["batch"], case["channels"], *case["size"]))
    lowered, _ = lab.apply(lab.build(nodes_of(case), x.shape, values), form)
    ops = [entry.op_type for entry in lowered.graph.node]
    assert ("Abs" in ops) == case["equal"]  # as cheap as the forced form, and considered first
    assert ("Neg" in ops) == (form == "nothing" and not case["equal"])
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


def chain(*middle, weights=(), outputs=("out",)):
    """x → conv → CReLU → middle."""
    nodes = [
        node("Conv", ["x", "w1"], ["y"], "first", pads=[1, 1, 1, 1]),
        node("CRelu", ["y"], ["c"], "crelu", domain="rectexport", axis=1),
        *middle,
    ]
    rng = np.random.default_rng(1)
    values = {"w1": rng.standard_normal((3, 2, 3, 3))}
    for name, shape in weights:
        values[name] = rng.standard_normal(shape) if isinstance(shape, tuple) else np.asarray(shape)
    return nodes, values, outputs


LINEAR = {
    "two convolutions": chain(
        node("Conv", ["c", "w2"], ["a"], "a"),
        node("Conv", ["c", "w3"], ["b"], "b", pads=[1, 1, 1, 1]),
        weights=(("w2", (4, 6, 1, 1)), ("w3", (2, 6, 3, 3))),
        outputs=("a", "b"),
    ),
    "average pool": chain(
        node("AveragePool", ["c"], ["p"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w2"], ["out"], "a"),
        weights=(("w2", (4, 6, 1, 1)),),
    ),
    "head": chain(
        node("GlobalAveragePool", ["c"], ["p"], "p"),
        node("Flatten", ["p"], ["f"], "f"),
        node("Gemm", ["f", "w2", "b2"], ["out"], "g", transB=1),
        weights=(("w2", (5, 6)), ("b2", (5,))),
    ),
    "mean and matrix": chain(
        node("ReduceMean", ["c", "axes"], ["f"], "m", keepdims=0),
        node("MatMul", ["f", "w2"], ["out"], "g"),
        weights=(("axes", [2, 3]), ("w2", (6, 5))),
    ),
    "flattened plane": chain(
        node("Reshape", ["c", "to"], ["f"], "f"),
        node("Gemm", ["f", "w2"], ["out"], "g"),
        weights=(("to", [-1, 6 * 4 * 6]), ("w2", (6 * 4 * 6, 3))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("form", ["halves", "parted", "doubled"])
def test_linear_readers(lab, name, form):
    nodes, values, outputs = LINEAR[name]
    model = lab.build(nodes, (2, 2, 4, 6), values, outputs)
    x = np.random.default_rng(2).standard_normal((2, 2, 4, 6))
    lowered, decision = lab.apply(model, form)
    direct = form != "parted" or name == "two convolutions"
    assert decision.taken == (form if direct else "as_written")
    for before, after in zip(lab.run(model, x), lab.run(lowered, x), strict=True):
        assert lab.relative(before, after) <= 1e-12


READER = node("Conv", ["c", "w2"], ["out"], "a")
GROUPED = node("Conv", ["c", "w2"], ["out"], "a", group=2)
REFUSED = {
    "max pool": (chain(node("MaxPool", ["c"], ["out"], "p", kernel_shape=[2, 2])), "not linear"),
    "graph output": (chain(READER, weights=(("w2", (4, 6, 1, 1)),), outputs=("out", "c")), "output of the graph"),
    "groups": (chain(GROUPED, weights=(("w2", (4, 3, 1, 1)),)), "2 groups"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_halves_refuses(lab, name):
    (nodes, values, outputs), reason = REFUSED[name]
    model = lab.build(nodes, (1, 2, 4, 6), values, outputs)
    lowered, decision = lab.apply(model, "halves")
    assert decision.taken == "as_written"
    assert reason in next(entry.refusal for entry in decision.considered if entry.form == "halves")
    x = np.random.default_rng(2).standard_normal((1, 2, 4, 6))
    for before, after in zip(lab.run(model, x), lab.run(lowered, x), strict=True):
        assert lab.relative(before, after) <= 1e-12


def test_doubled_refuses_a_tensor_with_other_readers(lab):
    nodes, values, _ = chain(node("Conv", ["c", "w2"], ["out"], "a"), weights=(("w2", (4, 6, 1, 1)),))
    model = lab.build(nodes, (1, 2, 4, 6), values, ("out", "y"))
    _, decision = lab.apply(model, "doubled")
    assert decision.taken == "as_written"
    assert any(entry.refusal == "y is also used elsewhere" for entry in decision.considered)


def test_magnitude_where_halves_are_summed(lab):
    case = {
        "channels": 2, "middle": 3, "outputs": 2, "bias": True, "rectified": False, "slope": 0.125, "equal": True,
        "stride": 1,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    values, x = constants_of(case, rng), rng.standard_normal((1, 2, 5, 6))
    lowered, decision = lab.apply(lab.build(nodes_of(case), x.shape, values), "nothing")
    assert decision.taken == "magnitude"
    assert [entry.op_type for entry in lowered.graph.node] == ["Conv", "Abs", "Conv"]
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


def test_pvanet_scale_allows_only_the_doubled_form(lab):
    nodes = [
        node("Conv", ["x", "w1"], ["y"], "first"),
        node("NegConcat", ["y"], ["n"], "both", domain="rectexport", axis=1),
        node("Mul", ["n", "s"], ["m"], "scale"),
        node("Relu", ["m"], ["out"], "relu"),
    ]
    rng = np.random.default_rng(0)
    values = {"w1": rng.standard_normal((3, 2, 1, 1)), "s": rng.standard_normal((1, 6, 1, 1))}
    model, x = lab.build(nodes, (1, 2, 4, 4), values), rng.standard_normal((1, 2, 4, 4))
    for form in ("halves", "doubled"):
        lowered, decision = lab.apply(model, form)
        assert decision.taken == ("doubled" if form == "doubled" else "as_written")
        assert lab.relative(lab.run(model, x)[0], lab.run(lowered, x)[0]) <= 1e-12


@given(st.floats(1e-3, 1e8), st.sampled_from((0.0, 0.125)), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("form", ["halves", "parted"])
def test_halves_of_unlike_size_never_cancel(form, size, slope, seed):
    """Whatever the sizes of W_p and W_n and the sign of y, the form is exact or refused."""
    draw = np.random.default_rng(seed)
    weight = draw.standard_normal((3, 8, 1, 1)).astype(np.float32)
    weight[:, 4:] *= np.float32(size)
    activation = "Relu(n)" if not slope else f"LeakyRelu<alpha = {slope}>(n)"
    body = f"n = rectexport.NegConcat<axis = 1>(x) k = {activation} y = Conv(k, w)"
    model = build("(float[1, 4, 5, 5] x) => (float[1, 3, 5, 5] y)", body, w=weight)
    lowered, _, decisions = lower(model, ForcedForm(form), {"lower_crelu"})
    signs = draw.standard_normal((1, 4, 5, 5)).astype(np.float32)
    for x in (signs, np.abs(signs) + np.float32(0.1), -np.abs(signs) - np.float32(0.1)):
        before, after = (outputs(entry, {"x": x})[0] for entry in (model, lowered))
        assert relative_l2(before, after) <= 2e-6
    if size > 1e3 or (size > 1e2 and not slope):
        assert decisions[0].taken == "as_written"
        assert any("would cancel" in (entry.refusal or "") for entry in decisions[0].considered)


@pytest.mark.parametrize(("positive", "negative"), [(np.inf, np.inf), (np.inf, 1), (1, np.nan), (3e38, 2e38)])
def test_weights_that_are_not_finite_are_left_alone(positive, negative):
    weight = np.ones((3, 8, 1, 1), np.float32)
    weight[1, :4], weight[1, 4:] = positive, negative
    body = "k = rectexport.CRelu<axis = 1>(x) y = Conv(k, w)"
    model = build("(float[1, 4, 5, 5] x) => (float[1, 3, 5, 5] y)", body, w=weight)
    _, _, decisions = lower(model, ForcedForm("halves"), {"lower_crelu"})
    assert decisions[0].taken == "as_written"
