"""Even kernels with symmetric padding: every form against the NumPy reference, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rectexport.models.layers.symmetry import group_pads
from rectexport.plugins import reference

FORMS = ("shift", "embedded", "four_convs")


@st.composite
def cases(draw):
    kernel = draw(st.sampled_from((2, 4)))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = groups * draw(st.integers(1, 5))
    return {
        "kernel": kernel,
        "order": draw(st.sampled_from(tuple(reference.SYMMETRIC_ORDERS))),
        "remainder": draw(st.sampled_from(("first", "last"))),
        "groups": groups,
        "channels": channels,
        "outputs": groups * draw(st.integers(1, 3)),
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "dilation": draw(st.sampled_from(((1, 1), (1, 1), (1, 2), (2, 1)))),
        "size": (draw(st.integers(2, 40)), draw(st.integers(2, 40))),
        "batch": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "own_pads": draw(st.sampled_from(((0, 0, 0, 0), (1, 0, 2, 1)))),
        "seed": draw(st.integers(0, 99)),
    }


def model_of(lab, case, rng):
    kernel, groups = case["kernel"], case["groups"]
    weight = rng.standard_normal((case["outputs"], case["channels"] // groups, kernel, kernel))
    bias = rng.standard_normal(case["outputs"]) if case["bias"] else None
    splits = list(reference.group_sizes(case["channels"], case["remainder"]))
    window = {"strides": case["stride"], "pads": case["own_pads"], "dilations": case["dilation"], "group": groups}
    nodes = [
        helper.make_node(
            "SymmetricPad",
            ["x"],
            ["p"],
            "pad",
            domain="rectexport",
            splits=splits,
            pads=group_pads(kernel, case["order"]),
        ),
        helper.make_node("Conv", ["p", "w", *(["b"] if case["bias"] else [])], ["out"], "conv", **window),
    ]
    constants = {"w": weight, **({"b": bias} if case["bias"] else {})}
    model = lab.build(nodes, [case["batch"], case["channels"], *case["size"]], constants)
    return model, weight, bias


@settings(max_examples=60, deadline=None)
@given(case=cases(), form=st.sampled_from(FORMS))
def test_forms_agree_with_the_reference(lab, case, form):
    extent = (case["kernel"] - 1) * max(case["dilation"]) + 1
    if min(case["size"]) + case["kernel"] - 1 < extent:
        return
    rng = np.random.default_rng(case["seed"])
    model, weight, bias = model_of(lab, case, rng)
    x = rng.standard_normal((case["batch"], case["channels"], *case["size"]))
    padded = reference.symmetric_pad(x, case["kernel"], case["order"], case["remainder"])
    expected = reference.conv2d(
        padded, weight, bias, case["stride"], case["own_pads"], case["dilation"], case["groups"]
    )
    lowered, decision = lab.apply(model, form)
    refused = form == "four_convs" and case["groups"] > 1
    assert decision.taken == ("as_written" if refused else form)
    assert not any(node.domain == "rectexport" for node in lowered.graph.node)
    if not (refused and min(reference.group_sizes(case["channels"], case["remainder"])) == 0):
        assert lab.relative(expected, lab.run(lowered, x)[0]) <= 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_one_pixel(lab, form):
    rng = np.random.default_rng(0)
    case = {
        "kernel": 2, "order": "wu", "remainder": "first", "groups": 1, "channels": 6, "outputs": 2, "stride": (1, 1),
        "dilation": (1, 1), "size": (1, 1), "batch": 1, "bias": True, "own_pads": (0, 0, 0, 0),
    }  # fmt: skip
    model, weight, bias = model_of(lab, case, rng)
    x = rng.standard_normal((1, 6, 1, 1))
    expected = reference.conv2d(reference.symmetric_pad(x), weight, bias)
    assert lab.relative(expected, lab.run(lab.apply(model, form)[0], x)[0]) <= 1e-12


def test_two_readers_allow_only_the_shift_form(lab):
    rng = np.random.default_rng(0)
    pads = group_pads(2)
    nodes = [
        helper.make_node("SymmetricPad", ["x"], ["p"], "pad", domain="rectexport", splits=[1, 1, 1, 1], pads=pads),
        helper.make_node("Conv", ["p", "w"], ["y"], "conv"),
        helper.make_node("Relu", ["p"], ["z"], "relu"),
    ]
    model = lab.build(nodes, ["N", 4, "H", "W"], {"w": rng.standard_normal((2, 4, 2, 2))}, ("y", "z"))
    x = rng.standard_normal((1, 4, 5, 6))
    before = lab.run(model, x)
    for form in FORMS:
        lowered, decision = lab.apply(model, form)
        assert decision.taken == (form if form == "shift" else "as_written")
        for expected, actual in zip(before, lab.run(lowered, x), strict=True):
            assert lab.relative(expected, actual) <= 1e-12
    refused = {entry.form: entry.refusal for entry in decision.considered if entry.refusal}
    assert set(refused) == {"embedded", "four_convs"} and "reads it" in refused["embedded"]
