"""A site cut out of its model."""

from __future__ import annotations

import numpy as np
from onnx import checker

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.lowering import crelu
from rectexport.exporter.passes.lowering.machinery.excerpt import excerpt
from tests.export.helper import build, normal, operators, outputs, tensors

BODY = """e = Exp(x) c = Conv<pads = [1, 1, 1, 1]>(e, w) d = rectexport.CRelu<axis = 1>(c)
  y = Conv(d, v) z = Sigmoid(y)"""
ARRAYS = {"w": normal(4, 3, 3, 3), "v": normal(5, 8, 1, 1, seed=1)}


def cut(signature):
    model = build(signature, BODY, **ARRAYS)
    graph = open_graph(model)
    (site,) = crelu.OPERATOR.find(graph)
    before = [node.op for node in graph.nodes]
    found = excerpt(model, graph, site)
    assert [node.op for node in graph.nodes] == before
    return model, found


def test_the_excerpt_computes_what_the_site_computes_between_convolutions_of_its_own():
    model, part = cut("(float[2, 3, 5, 6] x) => (float[2, 5, 5, 6] z)")
    checker.check_model(part)
    assert operators(part) == ["Conv", "Conv", "CRelu", "Conv", "Conv"]
    assert [value.name for value in (*part.graph.input, *part.graph.output)] == ["e.entry", "y.exit"]
    x = normal(2, 3, 5, 6)
    (found,) = outputs(part, {"e.entry": np.exp(x)})
    np.testing.assert_allclose(found, tensors(model, {"x": x})["y"], rtol=1e-5, atol=1e-5)


def test_open_sizes_cannot_be_cut():
    assert cut("(float[N, 3, 5, 6] x) => (float[N, 5, 5, 6] z)")[1] is None
