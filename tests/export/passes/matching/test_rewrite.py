"""The walk over a graph, and what it reports."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import parser

from rectexport.exporter.graph.surgeon import open_graph, producer
from rectexport.exporter.passes.matching import rewrite as module
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, kept_open, only_reader, refused, rewrite
from tests.export.passes.matching.scenes import parsed

TEXT = """<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] z)
  { a = Relu(x) b = Neg(a) c = Relu(b) z = Abs(c) }"""


def test_rewrites_and_refusals_are_reported_in_order():
    model = parser.parse_model(TEXT)

    def visit(scene, node):
        if node.op == "Relu":
            node.op = "Sigmoid"
            return FIRED
        return refused("even") if node.op == "Abs" else NOTHING

    rewritten, result = rewrite(model, "name", visit)
    assert [node.op_type for node in rewritten.graph.node] == ["Sigmoid", "Neg", "Sigmoid", "Abs"]
    assert [node.op_type for node in model.graph.node] == ["Relu", "Neg", "Relu", "Abs"]
    assert result.name == "name" and result.fired == ("Relu→a", "Relu→c")
    assert [(entry.node, entry.reason) for entry in result.refused] == [("Abs→z", "even")]


def test_the_same_model_comes_back_where_nothing_fired():
    model = parser.parse_model(TEXT)
    rewritten, result = rewrite(model, "name", lambda scene, node: refused("no"))
    assert rewritten is model and not result.fired and len(result.refused) == 4


def test_a_node_whose_outputs_are_gone_is_not_visited():
    seen = []

    def visit(scene, node):
        seen.append(node.op)
        if node.op == "Relu" and len(seen) == 1:
            (later,) = (entry for entry in scene.graph.nodes if entry.op == "Abs")
            output = later.outputs[0]
            later.outputs.clear()
            scene.graph.nodes.append(gs.Node("Sign", inputs=[node.outputs[0]], outputs=[output]))
            return FIRED
        return NOTHING

    rewritten, _ = rewrite(parser.parse_model(TEXT), "name", visit)
    assert seen == ["Relu", "Neg", "Relu"]
    assert [node.op_type for node in rewritten.graph.node] == ["Relu", "Sign"]


def test_a_model_that_cannot_be_converted_is_refused_whole():
    model = parser.parse_model(TEXT.replace("18", "13").replace("Neg", "Unheard"))
    rewritten, result = rewrite(model, "name", lambda scene, node: FIRED)
    assert rewritten is model and not result.fired
    assert "opset 13 could not be converted" in result.refused[0].reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Relu(x) z = Neg(a)", True),
        ("a = Relu(x) z = Mul(a, a)", False),
        ("a = Relu(x) b = Neg(a) z = Mul(b, a)", False),
    ],
)
def test_only_reader(body, expected):
    graph = parsed(body)
    reader = next(node for node in graph.scene.graph.nodes if node.op in ("Neg", "Mul"))
    assert only_reader(graph.scene, graph["a"], reader) == expected


def test_a_graph_output_has_no_only_reader():
    graph = parsed("a = Relu(x) z = Neg(a)", "(float[2] x) => (float[2] z, float[2] a)")
    assert not only_reader(graph.scene, graph["a"], graph.node("z"))


def test_producer_is_a_standard_node_of_the_operators_asked_for():
    graph = parsed("a = Relu(x) b = other.Relu(a) z = Mul(b, c)", c=np.ones(1, np.float32))
    assert producer(graph["a"], "Neg", "Relu") is graph.node("a")
    assert producer(graph["a"], "Neg") is None
    assert producer(graph["b"], "Relu") is None
    assert producer(graph["x"], "Relu") is None and producer(graph["c"], "Relu") is None


def test_a_model_is_opened_once_for_the_walks_that_change_nothing(monkeypatch):
    model, opened = parser.parse_model(TEXT), []
    monkeypatch.setattr(module, "open_graph", lambda given: opened.append(given) or open_graph(given))
    with kept_open():
        for _ in range(3):
            assert rewrite(model, "name", lambda scene, node: refused("no"))[0] is model
        assert len(opened) == 1
        other = parser.parse_model(TEXT)
        rewrite(other, "name", lambda scene, node: NOTHING)
        assert len(opened) == 2
    rewrite(other, "name", lambda scene, node: NOTHING)
    assert len(opened) == 3  # nothing is kept outside


def test_what_a_walk_changed_before_it_failed_is_not_kept():
    model = parser.parse_model(TEXT)

    def visit(scene, node):
        if node.op == "Abs":
            raise ValueError("broken")
        node.op = "Sigmoid"
        return FIRED

    with kept_open():
        rewrite(model, "name", lambda scene, node: NOTHING)
        with pytest.raises(ValueError, match="broken"):
            rewrite(model, "name", visit)
        seen = []
        rewrite(model, "name", lambda scene, node: seen.append(node.op) or NOTHING)
    assert seen == ["Relu", "Neg", "Relu", "Abs"]
