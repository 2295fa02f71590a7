"""Where CReLU occurs, and what belongs to it."""

from __future__ import annotations

import pytest

from rectexport.exporter.graph.surgeon import convolution_before, open_graph
from rectexport.exporter.passes.lowering.machinery.crelu_site import find, find_unactivated
from tests.export.helper import build, normal

SIGNATURE = "(float[1, 4, 8, 9] x) => (float[A, B, C, D] z)"
WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9, empty_bias=1"


def graph_of(body, signature=SIGNATURE):
    arrays = {"w": normal(4, 4, 3, 3), "v": normal(5, 8, 1, 1), "b": normal(4)}
    used = {name: array for name, array in arrays.items() if f" {name})" in body or f" {name}," in body}
    return open_graph(build(signature, body, **used))


@pytest.mark.parametrize(
    ("body", "slope", "result"),
    [
        ("z = rectexport.CRelu<axis = 1>(x)", 0.0, "z"),
        ("z = rectexport.CRelu<axis = -3>(x)", 0.0, "z"),
        ("n = rectexport.NegConcat<axis = 1>(x) z = Relu(n)", 0.0, "z"),
        ("n = rectexport.NegConcat<axis = 1>(x) z = LeakyRelu<alpha = 0.25>(n)", 0.25, "z"),
    ],
)
def test_sites_with_an_activation(body, slope, result):
    graph = graph_of(body)
    (site,) = find(graph)
    assert (site.slope, site.result.name, site.linear) == (slope, result, False)
    assert not list(find_unactivated(graph))


@pytest.mark.parametrize(
    "body",
    [
        "z = rectexport.NegConcat<axis = 1>(x)",
        "n = rectexport.NegConcat<axis = 1>(x) z = Sigmoid(n)",
        "n = rectexport.NegConcat<axis = 1>(x) r = Relu(n) z = Add(n, r)",
    ],
)
def test_sites_without_one(body):
    graph = graph_of(body)
    (site,) = find_unactivated(graph)
    assert site.linear and site.result.name == site.node.outputs[0].name
    assert not list(find(graph))


def test_another_axis_is_no_site():
    graph = graph_of("a = rectexport.CRelu<axis = 2>(x) n = rectexport.NegConcat<axis = 3>(a) z = Relu(n)")
    assert not list(find(graph)) and not list(find_unactivated(graph))


RECTIFIED = f"y = Conv<pads = [1, 1, 1, 1]>(x, w) r = rectexport.Rectify<{WINDOW}>(y, x, b) "


def test_the_producer_is_the_convolution_with_its_rectification():
    tensors = graph_of(RECTIFIED + "c = rectexport.CRelu<axis = 1>(r) z = Conv(c, v)").tensors()
    conv, rectify = convolution_before(tensors["r"])
    assert (conv.op, rectify.op) == ("Conv", "Rectify")
    assert convolution_before(tensors["y"]) == (conv, None)
    assert convolution_before(tensors["c"]) is None and convolution_before(tensors["x"]) is None


def test_members_and_shape():
    graph = graph_of(RECTIFIED + "c = rectexport.CRelu<axis = 1>(r) p = GlobalAveragePool(c) z = Conv(p, v)")
    (site,) = find(graph)
    assert [node.op for node in site.members(graph)] == ["Conv", "Rectify", "CRelu", "GlobalAveragePool", "Conv"]
    assert (site.shape().channels, site.shape().kernel, site.shape().height) == (4, 3, 8), "of the convolution before"
    graph = graph_of(RECTIFIED + "c = rectexport.CRelu<axis = 1>(r) z = Conv(c, v)")
    (site,) = find(graph)
    assert (site.shape().channels, site.shape().outputs) == (8, 5), "of the convolution that reads it"
    assert site.shape().height == 8


def test_members_where_something_else_reads_it():
    graph = graph_of("n = rectexport.NegConcat<axis = 1>(x) r = Relu(n) m = Mul(r, r) z = Sigmoid(m)")
    (site,) = find(graph)
    assert [node.op for node in site.members(graph)] == ["NegConcat", "Relu"]
    assert site.shape() is None
