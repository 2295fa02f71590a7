"""Rectification: every form against the NumPy reference, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rectexport.plugins import reference

node = helper.make_node


@st.composite
def cases(draw):
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilations = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    groups = draw(st.integers(1, 2))
    return {
        "kernel": kernel,
        "dilations": dilations,
        "groups": groups,
        "channels": groups * draw(st.integers(1, 3)),
        "outputs": groups * draw(st.integers(1, 3)),
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": tuple(draw(st.integers(0, 3)) for _ in range(4)),
        "size": tuple(draw(st.integers(size, 40)) for size in least),
        "batch": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "inside": draw(st.booleans()),
        "empty": draw(st.sampled_from(("bias", "zero"))),
        "mode": draw(st.sampled_from(("sum", "average"))),
        "relu": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }


def build(lab, case, values, shape):
    window = {key: case[key] for key in ("strides", "pads", "dilations")}
    conv = node(
        "Conv", ["x", "w", *(["inside"] if case["inside"] else [])], ["y"], "conv", group=case["groups"], **window
    )
    numerator = int(np.prod(case["kernel"])) if case["mode"] == "sum" else 1
    rest = {"numerator": numerator, "empty_bias": int(case["empty"] == "bias"), "domain": "rectexport"}
    rectify = node("Rectify", ["y", "x", "shift"], ["z"], "r", kernel_shape=case["kernel"], **window, **rest)
    return lab.build([conv, rectify, node("Relu" if case["relu"] else "Neg", ["z"], ["out"], "end")], shape, values)


def constants_of(case, rng):
    shift = rng.standard_normal(case["outputs"]) if case["bias"] else np.zeros(case["outputs"])
    weight = rng.standard_normal((case["outputs"], case["channels"] // case["groups"], *case["kernel"]))
    return {"w": weight, "shift": shift, **({"inside": rng.standard_normal(case["outputs"])} if case["inside"] else {})}


def expected_of(case, values, x):
    window = (case["strides"], case["pads"], case["dilations"])
    y = reference.conv2d(x, values["w"], values.get("inside"), *window, case["groups"])
    z = reference.rectify(y, x.shape, values["shift"], case["kernel"], *window, case["mode"], case["empty"])
    return reference.relu(z) if case["relu"] else -z


@settings(max_examples=80, deadline=None)
@given(case=cases(), form=st.sampled_from(("residual", "tail", "nothing")))
def test_forms_agree_with_the_reference(lab, case, form):
    rng = np.random.default_rng(case["seed"])
    values = constants_of(case, rng)
    x = rng.standard_normal((case["batch"], case["channels"], *case["size"]))
    lowered, _ = lab.apply(build(lab, case, values, x.shape), form)
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


BASE = {
    "kernel": (3, 3), "dilations": (1, 1), "groups": 1, "channels": 2, "outputs": 3, "strides": (1, 1),
    "pads": (1, 1, 1, 1), "bias": True, "inside": False, "empty": "bias", "mode": "sum", "relu": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "change", "ops"),
    [
        ("residual", {}, ["Conv", "Add", "Relu", "Mul"]),
        ("residual", {"bias": False}, ["Conv", "Relu", "Mul"]),
        ("residual", {"relu": False}, ["Conv", "Add", "Mul", "Neg"]),
        ("tail", {}, ["Conv", "Mul", "Conv", "Relu"]),
        ("residual", {"pads": (3, 3, 3, 3)}, ["Conv", "Mul", "Add", "Relu"]),
        ("tail", {"pads": (3, 3, 3, 3), "empty": "zero"}, ["Conv", "Mul", "Mul", "Add", "Relu"]),
    ],
)
def test_operators_after_each_form(lab, form, change, ops):
    case = {**BASE, **change}
    values = constants_of(case, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 7))
    lowered, decision = lab.apply(build(lab, case, values, x.shape), form)
    assert [entry.op_type for entry in lowered.graph.node] == ops
    refused = [entry.refusal for entry in decision.considered if entry.form == form]
    assert (decision.taken == form) == (refused == [None])
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


def test_dynamic_sizes_stay_as_written(lab):
    values = constants_of(BASE, np.random.default_rng(0))
    model = build(lab, BASE, values, ["N", 2, "H", "W"])
    for form in ("residual", "tail"):
        _, decision = lab.apply(model, form)
        assert decision.taken == "as_written" and decision.considered[1].refusal == "H, W dynamic"


@pytest.mark.parametrize("size", [(8, 1), (1, 8), (8, 8)])
@pytest.mark.parametrize("form", ["nothing", "residual", "tail"])
def test_no_factor_looks_like_a_per_channel_scale(lab, form, size):
    case = {**BASE, "outputs": 8, "bias": form == "tail"}
    values = constants_of(case, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 2, *size))
    lowered, _ = lab.apply(build(lab, case, values, x.shape), form)
    scale = next(entry for entry in lowered.graph.node if entry.op_type == "Mul").input[1]
    shape = next(tuple(entry.dims) for entry in lowered.graph.initializer if entry.name == scale)
    assert shape == (1, 8 if 1 in size else 1, *size)
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12
