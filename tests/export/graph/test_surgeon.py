"""What the passes ask of graphsurgeon."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

from rectexport.exporter.graph import surgeon
from rectexport.exporter.graph.surgeon import (
    MAX_ELEMENTS,
    MAX_SIDE,
    close_graph,
    constant,
    dialect_nodes,
    label,
    open_graph,
    sole_consumer,
    static_size,
)
from rectexport.runtime.errors import BadInput

IMAGE = "(float[N, 2, 3, 4] x) => (float[A, B, C, D] z)"


def model_of(body: str, signature: str = IMAGE, **arrays: np.ndarray) -> ModelProto:
    header = '<ir_version: 9, opset_import: ["" : 18, "rectexport" : 1, "other" : 1]>'
    model = parser.parse_model(f"{header} g {signature} {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


def test_unused_nodes_are_removed_and_the_rest_is_kept() -> None:
    model = model_of("a = Neg(x) u = Exp(x) z = rectexport.CRelu<axis = 1>(a)", unread=np.ones(2, np.float32))
    model.producer_name, model.producer_version = "made by", "2"
    helper.set_model_props(model, {"key": "value"})
    graph = open_graph(model)
    graph.nodes.reverse()
    closed = close_graph(graph, model)
    assert [node.op_type for node in closed.graph.node] == ["Neg", "CRelu"]
    assert not closed.graph.initializer
    assert (closed.ir_version, closed.producer_name, closed.producer_version) == (9, "made by", "2")
    assert [(entry.key, entry.value) for entry in closed.metadata_props] == [("key", "value")]
    assert [body.name for body in closed.functions] == ["CRelu"]


def test_an_input_that_nothing_reads_stays_an_input() -> None:
    model = model_of("z = Neg(x)", IMAGE.replace(") =>", ", float[2] spare) =>"))
    assert [value.name for value in close_graph(open_graph(model), model).graph.input] == ["x", "spare"]


def test_an_old_file_version_is_raised() -> None:
    model = model_of("z = Neg(x)")
    model.ir_version = 3
    assert close_graph(open_graph(model), model).ir_version == surgeon.LEAST_IR_VERSION


def test_a_graph_that_cannot_be_opened_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: ModelProto) -> None:
        raise TypeError("unheard of" * 100)

    monkeypatch.setattr(surgeon.gs, "import_onnx", refuse)
    with pytest.raises(BadInput, match="the graph cannot be taken apart: TypeError: unheard of") as caught:
        open_graph(model_of("z = Neg(x)"))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("z = Identity(c)", np.array([1, 2])),
        ("a = Identity(c) z = Identity(a)", np.array([1, 2])),
        ("z = Constant<value = float[2] {3.0, 4.0}>()", np.array([3.0, 4.0], np.float32)),
        ("z = Constant<value_int = 5>()", np.array(5)),
        ("z = Constant<value_floats = [1.5, 2.5]>()", np.array([1.5, 2.5], np.float32)),
        ("z = ConstantOfShape(c)", np.zeros((1, 2), np.float32)),
        ("z = ConstantOfShape<value = int64[1] {7}>(c)", np.full((1, 2), 7)),
    ],
)
def test_constants(body: str, expected: np.ndarray) -> None:
    found = constant(open_graph(model_of(body, c=np.array([1, 2]))).tensors()["z"])
    assert found is not None and found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "body", ["z = Identity(x)", "z = Add(c, c)", "z = other.Identity(c)", "z = ConstantOfShape(large)", "z = Shape(x)"]
)
def test_everything_else_is_no_constant(body: str) -> None:
    graph = open_graph(model_of(body, c=np.array([1, 2]), large=np.array([MAX_ELEMENTS, 2])))
    assert constant(graph.tensors()["z"]) is None


def test_sole_consumer() -> None:
    graph = open_graph(model_of("a = Neg(x) b = Exp(a) c = Abs(b) d = Add(b, c) z = Relu(d)"))
    tensors = graph.tensors()
    assert sole_consumer(graph, tensors["a"]).op == "Exp"
    assert sole_consumer(graph, tensors["b"]) is None, "two nodes read it"
    assert sole_consumer(graph, tensors["z"]) is None, "nothing reads it"
    given_out = open_graph(model_of("a = Neg(x) z = Exp(a)", "(float[2] x) => (float[2] z, float[2] a)"))
    assert sole_consumer(given_out, given_out.tensors()["a"]) is None, "it is an output"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([1, 2, 3, 4], (3, 4)),
        (["N", "C", 3, 4], (3, 4)),
        ([1, 2, MAX_SIDE, 1], (MAX_SIDE, 1)),
        ([1, 2, "H", 4], None),
        ([1, 2, 3, 0], None),
        ([1, 2, MAX_SIDE + 1, 4], None),
        ([2, 3, 4], None),
        (None, None),
    ],
)
def test_static_size(shape: list[int | str] | None, expected: tuple[int, int] | None) -> None:
    tensor = open_graph(model_of("z = Neg(x)")).tensors()["x"]
    tensor.shape = shape
    assert static_size(tensor) == expected


def test_dialect_nodes_and_labels() -> None:
    body = "a = rectexport.CRelu<axis = 1>(x) b = other.CRelu(a) z = rectexport.CRelu<axis = 1>(b)"
    graph = open_graph(model_of(body))
    graph.nodes[2].name = "named"
    found = []
    for node in dialect_nodes(graph, "CRelu"):
        found.append(label(node))
        graph.nodes.remove(node)
    assert found == ["CRelu→a", "named"]
