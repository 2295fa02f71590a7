"""CReLU, found in the spellings that occur."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from rectexport.exporter.passes.raising import crelu, raise_model
from tests.export.passes.raising.nets import Spelled

BOTH = ("dynamo-18", "torchscript-17")
IN = "(float[N, 4, H, W] x)"
SHAPE = (2, 4, 5, 6)
SIGNATURE = f"{IN} => (float[N, C, H, W] y)"


def pvanet(x: Tensor) -> Tensor:
    scale, shift = torch.linspace(-1, 1, 8).view(1, 8, 1, 1), torch.linspace(0, 1, 8).view(1, 8, 1, 1)
    return (torch.cat((x, -x), 1) * scale + shift).relu()


SPELLINGS = {
    "halves": (lambda x: torch.cat((x.relu(), (-x).relu()), 1), {"CRelu": 1, "Neg": 0}),
    "whole": (lambda x: torch.cat((x, -x), 1).relu(), {"CRelu": 1, "Relu": 0}),
    "times -1": (lambda x: torch.cat((x.relu(), (x * -1.0).relu()), 1), {"CRelu": 1, "Mul": 0}),
    "over -1": (lambda x: torch.cat((x, x / -1.0), 1).relu(), {"CRelu": 1, "Div": 0}),
    "0 minus": (lambda x: torch.cat((x, torch.zeros(1) - x), 1).relu(), {"CRelu": 1, "Sub": 0}),
    "last axis": (lambda x: torch.cat((x.relu(), (-x).relu()), -1), {"CRelu": 1}),
    "leaky": (lambda x: F.leaky_relu(torch.cat((x, -x), 1), 0.1), {"NegConcat": 1, "LeakyRelu": 1, "Concat": 0}),
    "leaky halves": (
        lambda x: torch.cat((F.leaky_relu(x, 0.1), F.leaky_relu(-x, 0.1)), 1),
        {"NegConcat": 1, "LeakyRelu": 1, "Concat": 0},
    ),
    "elu halves": (lambda x: torch.cat((F.elu(x), F.elu(-x)), 1), {"NegConcat": 1, "Elu": 1}),
    "relu6 halves": (lambda x: torch.cat((F.hardtanh(x, 0.0, 6.0), F.hardtanh(-x, 0.0, 6.0)), 1), {"NegConcat": 1}),
    "pvanet": (pvanet, {"NegConcat": 1, "Relu": 1, "CRelu": 0}),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_from_torch(name, to_onnx, check):
    function, expected = SPELLINGS[name]
    check(to_onnx(Spelled(function), torch.randn(SHAPE), case=name), expected)


@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_dynamic_sizes(to_onnx, check):
    model = to_onnx(Spelled(SPELLINGS["halves"][0]), torch.randn(SHAPE), dynamic=True)
    check(model, {"CRelu": 1}, shapes=[SHAPE, (1, 4, 9, 3)])


@pytest.mark.parametrize("name", ["halves", "whole", "leaky halves", "pvanet"])
@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_after_a_simplifier(name, to_onnx, simplify, check):
    function, expected = SPELLINGS[name]
    check(simplify(to_onnx(Spelled(function), torch.randn(SHAPE), case=name)), expected)


MINUS_ONE = np.array([[[-1.0]]], np.float32)


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 18, 23])
def test_by_hand(opset, parse, check):
    body = "m = Mul(x, f) a = Relu(x) i = Identity(m) b = Relu(i) y = Concat<axis = 1>(a, b)"
    check(parse(body, SIGNATURE, opset, f=MINUS_ONE), {"CRelu": 1, "Mul": 0}, shapes=[SHAPE])


def test_a_constant_node_and_a_cast(parse, check):
    body = """c = Constant<value_float = -1.0>() k = Cast<to = 1>(c) m = Mul(k, x)
              a = Relu(x) b = Relu(m) y = Concat<axis = 1>(a, b)"""
    check(parse(body, SIGNATURE), {"CRelu": 1, "Mul": 0}, shapes=[SHAPE])


NEAR_MISSES = {
    "halves swapped": ("m = Neg(x) a = Relu(x) b = Relu(m) y = Concat<axis = 1>(b, a)", ""),
    "signs swapped": ("m = Neg(x) y = Concat<axis = 1>(m, x)", ""),
    "another scale": ("m = Mul(x, f) a = Relu(x) b = Relu(m) y = Concat<axis = 1>(a, b)", ""),
    "no sign": ("a = Relu(x) b = Relu(x) y = Concat<axis = 1>(a, b)", ""),
    "one activation": ("m = Neg(x) a = Relu(x) y = Concat<axis = 1>(a, m)", ""),
    "two activations": (
        "m = Neg(x) a = LeakyRelu<alpha = 0.1>(x) b = LeakyRelu<alpha = 0.2>(m) y = Concat<axis = 1>(a, b)",
        "different activations",
    ),
    "half used twice": (
        "m = Neg(x) a = Relu(x) b = Relu(m) c = Concat<axis = 1>(a, b) d = Concat<axis = 1>(b, b) y = Add(c, d)",
        "b is also used elsewhere",
    ),
    "sign used twice": (
        "m = Neg(x) c = Concat<axis = 1>(x, m) d = Concat<axis = 1>(m, m) y = Add(c, d)",
        "m is also used elsewhere",
    ),
    "a third part": ("m = Neg(x) y = Concat<axis = 1>(x, m, x)", ""),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_must_not_fire(name, parse, untouched):
    body, reason = NEAR_MISSES[name]
    untouched(parse(body, SIGNATURE, f=np.array(-1.001, np.float32)), reason)


def test_an_intermediate_that_is_an_output(parse, untouched):
    signature = f"{IN} => (float[N, C, H, W] y, float[N, 4, H, W] m)"
    untouched(parse("m = Neg(x) y = Concat<axis = 1>(x, m)", signature), "m is also used elsewhere")


def test_a_relu_is_kept_apart_when_the_signs_are_given_out(parse, check):
    signature = f"{IN} => (float[N, C, H, W] y, float[N, 8, H, W] c)"
    model = parse("m = Neg(x) c = Concat<axis = 1>(x, m) y = Relu(c)", signature)
    check(model, {"NegConcat": 1, "Relu": 1, "CRelu": 0}, shapes=[SHAPE])


def test_what_cannot_be_converted_is_refused_with_the_reason(parse, untouched):
    model = parse("m = Neg(x) c = Concat<axis = 1>(x, m) y = Unheard(c)", SIGNATURE, opset=13)
    untouched(model, "opset 13 could not be converted")


@settings(max_examples=40, deadline=None)
@given(
    rank=st.integers(1, 5),
    axis=st.integers(-5, 4),
    activation=st.sampled_from(["Relu", "Sigmoid", "Tanh", "Elu", None]),
    spelled=st.sampled_from(["Neg", "Mul", "Div"]),
    halves=st.booleans(),
    data=st.data(),
)
def test_any_rank_and_axis(rank, axis, activation, spelled, halves, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    axis = axis % rank
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)
    inputs = ["x"] if spelled == "Neg" else ["x", "f"]
    nodes = [helper.make_node(spelled, inputs, ["m"])]
    if activation and halves:
        nodes += [helper.make_node(activation, [name], [f"{name}a"]) for name in "xm"]
        nodes += [helper.make_node("Concat", ["xa", "ma"], ["y"], axis=axis)]
    else:
        nodes += [helper.make_node("Concat", ["x", "m"], ["c"], axis=axis)]
        nodes += [helper.make_node(activation or "Identity", ["c"], ["y"])]
    factor = helper.make_tensor("f", TensorProto.FLOAT, [], [-1.0])
    graph = helper.make_graph(nodes, "g", [x], [y], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    raised, results = raise_model(model)
    fired = next(result.fired for result in results if result.name == crelu.NAME)
    assert len(fired) == 1
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,), (found,) = (ReferenceEvaluator(entry).run(None, feeds) for entry in (model, raised))
    np.testing.assert_array_equal(found, expected)
