"""Two linear convolutions in a row: merged against the NumPy reference, in float64."""

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
    return {
        "pointwise": draw(st.sampled_from(("first", "second"))),
        "channels": draw(st.integers(1, 4)),
        "middle": draw(st.integers(4, 6)),
        "outputs": draw(st.integers(1, 4)),
        "kernel": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        "dilations": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "size": (draw(st.integers(7, 40)), draw(st.integers(7, 40))),
        "biases": (draw(st.booleans()), draw(st.booleans())),
        "rectified": draw(st.booleans()),
        "batch": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 99)),
    }


def build(lab, case, values, shape):
    """x → conv → conv, of which the k×k one may be rectified."""
    names = ("first", "second")
    attributes = {
        name: {} if name == case["pointwise"] else {key: case[key] for key in ("strides", "pads", "dilations")}
        for name in names
    }
    wide = next(name for name in names if name != case["pointwise"])
    nodes, x = [], "x"
    for name in names:
        y = f"{name}_out"
        bias = [f"{name}_b"] if f"{name}_b" in values else []
        nodes.append(node("Conv", [x, f"{name}_w", *bias], [y], name, **attributes[name]))
        if case["rectified"] and name == wide:
            window = {**attributes[name], "kernel_shape": case["kernel"]}
            rest = {"numerator": 5, "empty_bias": 1, "domain": "rectexport"}
            nodes.append(node("Rectify", [y, x, "shift"], [f"{name}_z"], f"{name}_r", **window, **rest))
            y = f"{name}_z"
        x = y
    nodes.append(node("Relu", [x], ["out"], "end"))
    return lab.build(nodes, shape, values)


def constants_of(case, rng):
    kernels = {"first": case["kernel"], "second": case["kernel"], case["pointwise"]: (1, 1)}
    sizes = {"first": (case["middle"], case["channels"]), "second": (case["outputs"], case["middle"])}
    values = {f"{name}_w": rng.standard_normal((*sizes[name], *kernels[name])) for name in sizes}
    for name, wanted in zip(sizes, case["biases"], strict=True):
        if wanted:
            values[f"{name}_b"] = rng.standard_normal(sizes[name][0])
    wide = "second" if case["pointwise"] == "first" else "first"
    return {**values, **({"shift": rng.standard_normal(sizes[wide][0])} if case["rectified"] else {})}


def expected_of(case, values, x):
    for name in ("first", "second"):
        pointwise = name == case["pointwise"]
        window = () if pointwise else (case["strides"], case["pads"], case["dilations"])
        y = reference.conv2d(x, values[f"{name}_w"], values.get(f"{name}_b"), *window)
        if case["rectified"] and not pointwise:
            scale = 5 / np.prod(case["kernel"])
            r = scale * reference.rectification_map(*x.shape[2:], case["kernel"], *window)
            y = y * r + values["shift"][:, None, None]
        x = y
    return reference.relu(x)


@settings(max_examples=80, deadline=None)
@given(case=cases())
def test_merging_agrees_with_the_reference(lab, case):
    rng = np.random.default_rng(case["seed"])
    values = constants_of(case, rng)
    x = rng.standard_normal((case["batch"], case["channels"], *case["size"]))
    lowered, _ = lab.apply(build(lab, case, values, x.shape), "merged")
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


BASE = {
    "pointwise": "first", "channels": 2, "middle": 6, "outputs": 3, "kernel": (3, 3), "strides": (1, 1),
    "pads": (1, 1, 1, 1), "dilations": (1, 1), "biases": (True, True), "rectified": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "ops"),
    [
        ({}, ["Conv", "Add", "Relu"]),
        ({"biases": (False, True)}, ["Conv", "Relu"]),
        ({"pads": (0, 0, 0, 0)}, ["Conv", "Relu"]),
        ({"pointwise": "second"}, ["Conv", "Relu"]),
        ({"middle": 1}, ["Conv", "Conv", "Relu"]),
    ],
)
def test_operators_after_merging(lab, change, ops):
    case = {**BASE, **change}
    values = constants_of(case, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 2, 8, 9))
    lowered, _ = lab.apply(build(lab, case, values, x.shape), "merged")
    assert [entry.op_type for entry in lowered.graph.node] == ops
    assert lab.relative(expected_of(case, values, x), lab.run(lowered, x)[0]) <= 1e-12


def test_a_shift_that_meets_padding_of_unknown_size_is_refused(lab):
    model = build(lab, BASE, constants_of(BASE, np.random.default_rng(0)), ["N", 2, "H", "W"])
    _, decision = lab.apply(model, "merged")
    assert decision.taken == "as_written" and "H, W are dynamic" in decision.considered[1].refusal


def test_two_kernels_and_a_rectified_first_are_refused(lab):
    rng = np.random.default_rng(0)
    wide = {"pads": [1, 1, 1, 1]}
    values = {"w": rng.standard_normal((2, 2, 3, 3)), "s": rng.standard_normal(2)}
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}
    rectify = node("Rectify", ["y", "x", "s"], ["z"], "r", domain="rectexport", numerator=9, empty_bias=1, **window)
    for middle in ([], [rectify]):
        nodes = [node("Conv", ["x", "w"], ["y"], "a", **wide), *middle]
        nodes.append(node("Conv", ["z" if middle else "y", "w"], ["out"], "b", **wide))
        model = lab.build(nodes, (1, 2, 5, 5), values)
        lowered, _ = lab.apply(model, "merged")
        assert sum(entry.op_type == "Conv" for entry in lowered.graph.node) == 2
