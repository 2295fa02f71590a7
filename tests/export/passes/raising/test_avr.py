"""AVR, the sum of both rectified halves, found in the spellings that occur."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rectexport.exporter.passes.raising import avr
from tests.export.passes.raising.nets import Spelled

SHAPE = (2, 4, 5, 6)
SIGNATURE = "(float[N, 4, H, W] x) => (float[N, C, H, W] y)"
SPELLINGS = {
    "neg": lambda x: x.relu() + (-x).relu(),
    "swapped": lambda x: (x * -1.0).relu() + x.relu(),
}
FOUND = {"Abs": 1, "Relu": 0, "Neg": 0, "Mul": 0}


@pytest.mark.parametrize("name", SPELLINGS)
def test_from_torch(name, to_onnx, check):
    check(to_onnx(Spelled(SPELLINGS[name]), torch.randn(SHAPE), case=name), FOUND)


@pytest.mark.parametrize("to_onnx", ["dynamo-18", "torchscript-17"], indirect=True)
def test_after_a_simplifier(to_onnx, simplify, check):
    check(simplify(to_onnx(Spelled(SPELLINGS["neg"]), torch.randn(SHAPE), case="neg")), FOUND)


@pytest.mark.parametrize(
    "body",
    [
        "m = Neg(x) a = Relu(x) b = Relu(m) y = Add(a, b)",
        "m = Neg(x) a = Relu(x) b = Relu(m) y = Add(b, a)",
        "m = Div(x, minus) a = Relu(x) b = Relu(m) y = Add(a, b)",
        "m = Sub(zero, x) a = Relu(x) b = Relu(m) y = Add(a, b)",
    ],
)
def test_by_hand(body, parse, check):
    model = parse(body, SIGNATURE, minus=np.array(-1, np.float32), zero=np.array(0, np.float32))
    raised = check(model, {"Abs": 1, "Relu": 0}, shapes=[SHAPE])
    assert [(node.op_type, list(node.input), list(node.output)) for node in raised.graph.node] == [
        ("Abs", ["x"], ["y"])
    ]


NEAR_MISSES = {
    "a difference": ("m = Neg(x) a = Relu(x) b = Relu(m) y = Sub(a, b)", ""),
    "no sign": ("a = Relu(x) b = Relu(x) y = Add(a, b)", ""),
    "another scale": ("m = Mul(x, f) a = Relu(x) b = Relu(m) y = Add(a, b)", ""),
    "another activation": ("m = Neg(x) a = Relu(x) b = Elu(m) y = Add(a, b)", ""),
    "of another tensor": ("e = Exp(x) m = Neg(e) a = Relu(x) b = Relu(m) y = Add(a, b)", ""),
    "a half used twice": ("m = Neg(x) a = Relu(x) b = Relu(m) c = Add(a, b) y = Mul(c, a)", "a is also used"),
    "the other half used twice": ("m = Neg(x) a = Relu(x) b = Relu(m) c = Add(a, b) y = Mul(c, b)", "b is also used"),
    "the sign used twice": ("m = Neg(x) a = Relu(x) b = Relu(m) c = Add(a, b) y = Mul(c, m)", "m is also used"),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_must_not_fire(name, parse, untouched):
    body, reason = NEAR_MISSES[name]
    untouched(parse(body, SIGNATURE, f=np.array(-1.001, np.float32)), reason)


def test_a_half_that_is_an_output_stays(parse, untouched):
    signature = "(float[N, 4, H, W] x) => (float[N, C, H, W] y, float[N, 4, H, W] b)"
    untouched(parse("m = Neg(x) a = Relu(x) b = Relu(m) y = Add(a, b)", signature), "b is also used elsewhere")


def test_the_pass_alone_reports_where_it_fired(parse):
    model = parse("m = Neg(x) a = Relu(x) b = Relu(m) y = Add(a, b)", SIGNATURE)
    raised, result = avr.run(model)
    assert [node.op_type for node in raised.graph.node] == ["Abs"]
    assert result.name == avr.NAME and result.fired == ("Add→y",)
