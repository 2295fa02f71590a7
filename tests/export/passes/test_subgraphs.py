"""Tensors of the main graph that branches read keep their names and values, whichever pass runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import ModelProto, checker

from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, select_passes
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.order import RAISE
from rectexport.exporter.passes.precision import bfloat16, half
from tests.export.helper import build, normal, outputs, relative_l2

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9, empty_bias=1"
PADS = "[0,0,1,1, 0,1,1,0, 1,0,0,1, 1,1,0,0]"


def branches(tensor: str, shape: str = "B,C,H,W") -> str:
    """An If whose branches read a tensor of the main graph: by a Relu, and by an Identity."""
    then = f"then_branch = t () => (float[{shape}] b) {{ b = Relu({tensor}) }}"
    return f"If<{then}, else_branch = e () => (float[{shape}] c) {{ c = Identity({tensor}) }}>(which)"


CONSTANTS = {
    "w": normal(4, 4, 3, 3), "v": normal(5, 4, 1, 1, seed=1), "even": normal(5, 4, 2, 2, seed=2),
    "wide": normal(5, 8, 1, 1, seed=3), "bias": normal(4, seed=4), "one": normal(4, seed=5), "two": normal(4, seed=6),
    "axes": np.array([2, 3], np.int64), "var": np.full(4, 1.5, np.float32),
}  # fmt: skip
#: Each body computes z beside an If that reads one tensor `m` in the middle of what a pass would rewrite.
BODIES = {
    "batch_norm": "m = Conv<pads=[1,1,1,1]>(x, w)\n n = BatchNormalization(m, one, bias, two, var)",
    "rectified batch_norm": (
        f"a = Conv<pads=[1,1,1,1]>(x, w)\n m = rectexport.Rectify<{WINDOW}>(a, x, bias)\n"
        "n = BatchNormalization(m, one, bias, two, var)"
    ),
    "norm before conv": "m = BatchNormalization(x, one, bias, two, var)\n n = Conv(m, v)",
    "two convolutions": "m = Conv<pads=[1,1,1,1]>(x, w)\n n = Conv(m, v)",
    "crelu spelled out": "m = Neg(x)\n n = Concat<axis=1>(x, m)",
    "relu after concat": "o = Neg(x)\n m = Concat<axis=1>(x, o)\n n = Relu(m)",
    "concat read by a branch alone": "o = Neg(x)\n m = Concat<axis=1>(x, o)\n n = Relu(x)",
    "sum of halves": "o = Neg(x)\n m = Relu(o)\n p = Relu(x)\n n = Add(p, m)",
    "crelu": "m = rectexport.CRelu<axis=1>(x)\n n = Conv(m, wide)",
    "convolution before crelu": "m = Conv<pads=[1,1,1,1]>(x, w)\n n = rectexport.CRelu<axis=1>(m)",
    "rectify": f"m = Conv<pads=[1,1,1,1]>(x, w)\n n = rectexport.Rectify<{WINDOW}>(m, x, bias)",
    "relu after rectify": (
        f"a = Conv<pads=[1,1,1,1]>(x, w)\n m = rectexport.Rectify<{WINDOW}>(a, x, bias)\n n = Sigmoid(m)"
    ),
    "symmetric": f"m = rectexport.SymmetricPad<splits=[1,1,1,1], pads={PADS}>(x)\n n = Conv(m, even)",
    "identity": "i = Relu(x)\n m = Identity(i)\n n = Neg(m)",
    "mean": "o = Relu(x)\n m = ReduceMean(o, axes)\n n = Neg(m)",
    "computed weights": "m = Relu(w)\n n = Conv<pads=[1,1,1,1]>(x, m)",
}


def model(body: str) -> ModelProto:
    """The body, and beside it what the branches make of the tensor `m`; both are outputs."""
    text = f"{body}\n y = {branches('m')}\n z = Identity(n)"
    used = {name: value for name, value in CONSTANTS.items() if re.search(rf"\b{name}\b", text)}
    return build("(bool which, float[1,4,6,7] x) => (float[A,B,E,F] z, float[P,Q,R,S] y)", text, 18, **used)


def compared(before: ModelProto, after: ModelProto, tolerance: float = 1e-6) -> None:
    checker.check_model(after)
    for which in (True, False):
        feeds = {"which": np.array(which), "x": normal(1, 4, 6, 7, seed=7)}
        for expected, actual in zip(outputs(before, feeds), outputs(after, feeds), strict=True):
            assert relative_l2(expected, actual) <= tolerance


FORMS = ("", "doubled", "halves", "parted", "shift", "embedded", "four_convs", "residual", "tail")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_pass_changes_what_a_branch_reads(body: str) -> None:
    given = model(body)
    for form in FORMS:
        current = given
        for entry in select_passes(PassContext("tensorrt", measured=ForcedForm(form))):
            current, result = entry.run(infer_shapes(current) if entry.stage == RAISE else current)
            if result.fired:
                compared(given, current)


@pytest.mark.parametrize("body", [BODIES["two convolutions"], BODIES["rectify"], BODIES["batch_norm"]])
def test_half_precision_keeps_what_a_branch_reads_in_float32(body: str) -> None:
    exact = model(body)
    for entry in select_passes(PassContext()):
        exact, _ = entry.run(exact)
    converted, result = half.run(exact)
    checker.check_model(converted, full_check=True)
    assert any(entry.reason == "a subgraph shares its tensors" for entry in result.refused)
    for which in (True, False):
        feeds = {"which": np.array(which), "x": normal(1, 4, 6, 7, seed=7)}
        for expected, actual in zip(outputs(exact, feeds), outputs(converted, feeds), strict=True):
            assert actual.dtype == np.float32 and relative_l2(expected, actual) <= 5e-3


def test_bfloat16_keeps_what_a_branch_reads_in_float32() -> None:
    text = f"m = Conv(x, v)\n y = {branches('m')}\n z = Relu(m)"
    given = build("(bool which, float[1,4,6,7] x) => (float[A,B,E,F] z, float[P,Q,R,S] y)", text, 22, v=CONSTANTS["v"])
    converted, _ = bfloat16.run(given)
    checker.check_model(converted, full_check=True)
    types = {value.name: value.type.tensor_type.elem_type for value in infer_shapes(converted).graph.value_info}
    assert types["m"] == bfloat16.FLOAT and bfloat16.BFLOAT16 in types.values()
    compared(given, bfloat16.emulate(converted), 5e-2)
