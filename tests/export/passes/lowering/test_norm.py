"""A BatchNorm before a convolution: folded forward against the NumPy reference, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rectexport.plugins import reference

node = helper.make_node


def build(lab, groups, outputs, kernel, pads, values, shape, middle=()):
    nodes = [
        node("BatchNormalization", ["x", "s", "t", "m", "v"], ["n"], "norm", epsilon=0.0),
        *middle,
        node(
            "Conv",
            ["r" if middle else "n", "w", *(["b"] if "b" in values else [])],
            ["out"],
            "c",
            group=groups,
            pads=pads,
        ),
    ]
    return lab.build(nodes, shape, values)


def constants_of(rng, channels, outputs, groups, kernel, bias):
    values = {name: rng.standard_normal(channels) for name in "stm"}
    values["v"] = rng.uniform(0.5, 2.0, channels)
    values["w"] = rng.standard_normal((outputs, channels // groups, *kernel))
    return {**values, **({"b": rng.standard_normal(outputs)} if bias else {})}


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3),
    share=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.sampled_from(([0, 0, 0, 0], [1, 0, 0, 1])),
    bias=st.booleans(),
    shifted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_folding_agrees_with_the_reference(lab, groups, share, kernel, pads, bias, shifted, seed):
    rng = np.random.default_rng(seed)
    channels, outputs = groups * share, groups * 2
    values = constants_of(rng, channels, outputs, groups, kernel, bias)
    if not shifted:
        values["m"] = values["t"] = np.zeros(channels)
    x = rng.standard_normal((2, channels, 5, 6))
    lowered, decision = lab.apply(build(lab, groups, outputs, kernel, pads, values, x.shape), "folded")
    assert decision.taken == ("as_written" if shifted and any(pads) else "folded")
    if decision.taken == "folded":
        z = reference.batch_norm(x, values["s"], values["t"], values["m"], values["v"], 0.0)
        expected = reference.conv2d(z, values["w"], values.get("b"), (1, 1), pads, (1, 1), groups)
        assert [entry.op_type for entry in lowered.graph.node] == ["Conv"]
        assert lab.relative(expected, lab.run(lowered, x)[0]) <= 1e-12
    else:
        assert decision.considered[1].refusal == "its shift meets zero padding"


@pytest.mark.parametrize("middle", [True, False])
def test_only_a_convolution_right_after_it(lab, middle):
    values = constants_of(np.random.default_rng(0), 2, 2, 1, (1, 1), False)
    between = [node("Relu", ["n"], ["r"], "relu")] if middle else ()
    model = build(lab, 1, 2, (1, 1), [0, 0, 0, 0], values, (1, 2, 3, 3), between)
    ops = [entry.op_type for entry in lab.written(model).graph.node]
    assert ("BatchNormalization" in ops) == middle
