"""Everything of a model that surgery does not touch comes back as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from rectexport.exporter.graph.names import read_from_outside, unused, used_names
from rectexport.exporter.graph.surgeon import close_graph, gs, open_graph
from tests.export.helper import normal, outputs

NESTED = """
<ir_version: 9, opset_import: ["" : 18, "mine" : 1]>
net (float[N, 4] x, bool which) => (float[N, 4] y) <float[1] c = {2.0}, float[1] d = {3.0}> {
  a = Neg (x)
  y = If (which) <
    then_branch = t () => (float[N, 4] p) { q = If (which) <
      then_branch = tt () => (float[N, 4] r) { r = Mul (a, c) }, else_branch = te () => (float[N, 4] s) { s = Abs (a) }
    >  p = Add (q, d) },
    else_branch = e () => (float[N, 4] u) { u = Identity (x) }
  >
}
"""


def through(model: ModelProto) -> ModelProto:
    """The model, opened and closed, with its input left alone."""
    before = model.SerializeToString(deterministic=True)
    closed = close_graph(open_graph(model), model)
    assert model.SerializeToString(deterministic=True) == before
    return closed


def plain(body: str = "y = Relu(x)", signature: str = "(float[2] x) => (float[2] y)") -> ModelProto:
    return parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18, "mine" : 1]> net {signature} {{ {body} }}')


def test_nested_branches_come_back_and_read_the_same_tensors() -> None:
    model = parser.parse_model(NESTED)
    closed = through(model)
    assert [node.SerializeToString() for node in closed.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]
    assert read_from_outside(closed.graph.node[1]) == ["which", "a", "c", "d", "x"]
    for which in (True, False):
        feeds = {"x": normal(2, 4), "which": np.array(which)}
        np.testing.assert_array_equal(outputs(closed, feeds)[0], outputs(model, feeds)[0])


def test_header_and_documentation_come_back() -> None:
    model = plain()
    model.doc_string, model.model_version, model.domain = "what it is for", 7, "here"
    model.producer_name, model.producer_version = "made by", "2"
    helper.set_model_props(model, {"key": "value"})
    model.graph.doc_string = "graph"
    model.graph.input[0].doc_string, model.graph.output[0].type.denotation = "input", "IMAGE"
    model.graph.metadata_props.add(key="of the graph", value="value")
    assert through(model) == model


@pytest.mark.parametrize(
    "attribute",
    [
        helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.INTS),
        helper.make_attribute("bytes", b"\xff\xfe"),
        helper.make_attribute("type", helper.make_tensor_type_proto(TensorProto.FLOAT, [2])),
        helper.make_attribute("texts", ["a", "b"]),
        helper.make_attribute("number", 0.1),
        helper.make_attribute("tensor", numpy_helper.from_array(np.array(["a", "b"], object), "t")),
        helper.make_attribute(
            "sparse",
            helper.make_sparse_tensor(
                helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("i", TensorProto.INT64, [1], [1]),
                [2],
            ),
        ),
    ],
    ids=lambda attribute: attribute.name,
)  # fmt: skip
def test_attributes_of_every_kind_come_back(attribute: onnx.AttributeProto) -> None:
    model = plain("y = mine.Do(x)")
    model.graph.node[0].attribute.append(attribute)
    model.graph.node[0].overload = "special"
    assert through(model) == model


@pytest.mark.parametrize(
    "value",
    [
        helper.make_tensor_sequence_value_info("z", TensorProto.FLOAT, [2]),
        helper.make_value_info("z", helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [2]))),
        helper.make_value_info(
            "z", helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(1, []))
        ),
    ],
    ids=["sequence", "optional", "map"],
)
def test_inputs_and_outputs_of_other_types_come_back(value: onnx.ValueInfoProto) -> None:
    model = plain("y = Relu(x) z = mine.Do(s)")
    model.graph.output.append(value)
    given_in = model.graph.input.add()
    given_in.CopyFrom(value)
    given_in.name = "s"
    assert through(model) == model


def test_sparse_initializers_and_defaults_of_inputs_come_back_and_are_no_constants() -> None:
    model = plain("a = Add(x, r) y = Add(a, thin)", "(float[2] x, float[2] r) => (float[2] y)")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "r"))
    parts = (
        helper.make_tensor("thin", TensorProto.FLOAT, [1], [1]),
        helper.make_tensor("at", TensorProto.INT64, [1], [1]),
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(*parts, [2]))
    assert through(model) == model
    tensors = open_graph(model).tensors()
    assert not any(isinstance(tensors[name], gs.Constant) for name in ("r", "thin"))


def test_initializers_that_old_files_list_as_inputs_are_constants() -> None:
    model = plain("y = Add(x, r)", "(float[2] x, float[2] r) => (float[2] y)")
    model.ir_version = 3
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "r"))
    assert isinstance(open_graph(model).tensors()["r"], gs.Constant)


@given(st.permutations(["a", "y.new", "inner", "free", "c"]), st.integers(0, 4))
@settings(max_examples=25)
def test_new_names_never_collide(names: list[str], taken: int) -> None:
    """Whichever name a pass invents, values of the tensors that had it stay."""
    other, inside = names[0], names[1]
    model = plain("o1 = Abs(x) y = Relu(x) z = If(which) <then_branch = t () => (float[2] p) "
                  "{ i1 = Neg(o1) p = Exp(i1) }, else_branch = e () => (float[2] q) { q = Abs(o1) }>",
                  "(float[2] x, bool which) => (float[2] y, float[2] z)")  # fmt: skip
    renamed = ModelProto.FromString(model.SerializeToString())
    _rename(renamed, {"o1": other, "i1": inside})
    graph = open_graph(renamed)
    relu = next(node for node in graph.nodes if node.op == "Relu")
    y = relu.outputs[0]
    middle: Any = gs.Variable(names[taken], np.float32, [2])
    relu.outputs = [middle]
    graph.nodes.append(gs.Node("Mul", "", {}, [middle, gs.Constant(names[taken], np.ones(1, np.float32))], [y]))
    closed = close_graph(graph, renamed)
    for which in (True, False):
        feeds = {"x": normal(2), "which": np.array(which)}
        for found, wanted in zip(outputs(closed, feeds), outputs(model, feeds), strict=True):
            np.testing.assert_array_equal(found, wanted)


def _rename(model: ModelProto, names: dict[str, str]) -> None:
    def rename(nodes: Any) -> None:
        for node in nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            for attribute in node.attribute:
                rename(attribute.g.node)

    rename(model.graph.node)


def test_names() -> None:
    model = parser.parse_model(NESTED)
    assert used_names(model.graph) == set("xwhichyacdpqrsu".replace("which", "")) | {"which"}
    assert unused("x", ("x", "x_")) == "x__"
    assert unused("free", ()) == "free"


def stored(kind: str, size: int) -> ModelProto:
    """y = x + w, where w has `size` values, as raw bytes or in the field of its type."""
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    tensor = numpy_helper.from_array(values.astype(kind.removesuffix(" field")), "w")
    if kind.endswith("field"):
        tensor = helper.make_tensor("w", TensorProto.FLOAT, [size], values.tolist())
    name = {"float16": "float16", "float64": "double"}.get(kind, "float")
    model = plain("y = Add(x, w)", f"({name}[{size}] x) => ({name}[{size}] y)")
    model.graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize("size", [4, 10_000])
@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "float32 field"])
def test_stored_tensors_come_back_bit_for_bit(kind: str, size: int) -> None:
    model = stored(kind, size)
    closed = through(model)
    assert closed.graph.initializer[0].SerializeToString() == model.graph.initializer[0].SerializeToString()


@pytest.mark.parametrize("size", [4, 10_000])
def test_renamed_read_and_replaced_tensors_are_written(size: int) -> None:
    """The model that was opened keeps its own."""
    model = stored("float32", size)
    before, values = model.SerializeToString(deterministic=True), numpy_helper.to_array(model.graph.initializer[0])
    for replaced in (False, True):
        graph = open_graph(model)
        (tensor,) = (entry for entry in graph.tensors().values() if isinstance(entry, gs.Constant))
        tensor.name = "v"
        np.testing.assert_array_equal(tensor.values, values)
        if replaced:
            tensor.values = 2 * values
        closed = close_graph(graph, model)
        (entry,) = closed.graph.initializer
        assert entry.name == "v" and closed.graph.node[0].input[1] == "v"
        np.testing.assert_array_equal(numpy_helper.to_array(entry), (1 + replaced) * values)
        np.testing.assert_array_equal(tensor.values, (1 + replaced) * values)
        assert model.SerializeToString(deterministic=True) == before
