"""Conv nodes as plain values, and back."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.lowering.machinery.convolution import (
    Convolution,
    add_pads,
    detach,
    emit,
    read,
    shape_of,
)
from tests.export.helper import build, normal, outputs

WEIGHT, BIAS = normal(6, 2, 3, 2), normal(6, seed=1)
SIGNATURE = "(float[2, 4, 7, 8] x) => (float[A, B, C, D] y)"


def conv_of(body, signature=SIGNATURE, **arrays):
    model = build(signature, body, **arrays)
    graph = open_graph(model)
    return model, graph, next((node for node in graph.nodes if node.op == "Conv"), graph.nodes[-1])


def test_a_convolution_is_read_and_emitted_with_the_same_result():
    body = "y = Conv<group = 2, strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 2]>(x, w, b)"
    model, graph, node = conv_of(body, w=WEIGHT, b=BIAS)
    conv = read(node)
    assert (conv.strides, conv.pads, conv.dilations, conv.groups) == ((2, 1), (1, 0, 2, 1), (1, 2), 2)
    assert (conv.channels, conv.outputs, conv.kernel, conv.pointwise) == (4, 6, (3, 2), False)
    x, y = node.inputs[0], node.outputs[0]
    detach(graph, node)
    assert not node.inputs and not node.outputs and not graph.nodes
    emit(graph, "new", conv, x, y)
    rebuilt = close_graph(graph, model)
    feeds = {"x": normal(2, 4, 7, 8, seed=2)}
    np.testing.assert_array_equal(outputs(rebuilt, feeds)[0], outputs(model, feeds)[0])
    assert rebuilt.graph.node[0].name == "new"


def test_defaults():
    conv = read(conv_of("y = Conv(x, w)", w=normal(3, 4, 1, 1))[2])
    assert conv.bias is None and conv.pointwise
    assert (conv.strides, conv.pads, conv.dilations, conv.groups) == ((1, 1), (0, 0, 0, 0), (1, 1), 1)


@pytest.mark.parametrize("change", [{"strides": (2, 1)}, {"pads": (0, 1, 0, 0)}, {"weight": np.ones((3, 4, 1, 2))}])
def test_what_moves_pixels_is_not_pointwise(change):
    assert Convolution(np.ones((3, 4, 1, 1)), None).pointwise
    assert not Convolution(**{"weight": np.ones((3, 4, 1, 1)), "bias": None, **change}).pointwise


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Relu(x)", "no convolution reads it"),
        ('y = Conv<auto_pad = "SAME_UPPER">(x, w)', "auto_pad"),
        ("v = Abs(w) u = Mul(v, s) y = Conv(x, u)", "not constants"),
        ("s1 = ReduceMax<keepdims = 0>(x) e = Expand(s1, six) y = Conv(x, w, e)", "not constants"),
    ],
)
def test_other_nodes_are_refused(body, reason):
    arrays = {"w": normal(6, 4, 3, 3), "s": normal(1), "six": np.array([6])}
    node = conv_of(body, **{name: array for name, array in arrays.items() if f"{name})" in body or f"{name}," in body})
    assert reason in read(node[2])
    assert "no convolution reads it" in read(None)


def test_a_convolution_along_one_axis_is_refused():
    node = conv_of("y = Conv(x, w)", "(float[1, 4, 7] x) => (float[A, B, C] y)", w=normal(3, 4, 2))[2]
    assert read(node) == "the convolution is not two-dimensional"


def test_shape_of():
    conv = Convolution(WEIGHT, None, strides=(1, 2), groups=2)
    x = open_graph(build("(float[N, 4, 7, W] x) => (float[N, 4, 7, W] y)", "y = Neg(x)")).inputs[0]
    shape = shape_of(conv, x).as_dict()
    assert shape == {
        "batch": 0,
        "channels": 4,
        "outputs": 6,
        "height": 7,
        "width": 0,
        "kernel": 3,
        "stride": 2,
        "groups": 2,
        "dtype": "float32",
    }
    x.shape = None
    assert shape_of(conv, x).height == 0


def test_add_pads():
    assert add_pads((1, 2, 3, 4), [4, 3, 2, 0]) == (5, 5, 5, 4)
