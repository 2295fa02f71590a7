"""Dialect nodes and functions in other people's files."""

from __future__ import annotations

import pytest
from onnx import ModelProto, helper

from rectexport.exporter.graph.dialect_check import dialect_faults
from tests.export.helper import build

IMAGES = "(float[N, 4, H, W] x) => (float[A, B, C, D] z)"
WINDOW = {
    "kernel_shape": [3, 3],
    "strides": [1, 1],
    "pads": [1, 1, 1, 1],
    "dilations": [1, 1],
    "numerator": 9,
    "empty_bias": 1,
}


def faults(model: ModelProto) -> list[str]:
    return list(dialect_faults(model, list(model.graph.node)))


def crelu() -> ModelProto:
    return build(IMAGES, "z = rectexport.CRelu<axis = 1>(x)")


def node(operator: str, inputs: int = 1, **attributes: object) -> ModelProto:
    """A model with one node of the dialect, whatever its attributes."""
    model = crelu()
    names = ["x"] * inputs
    model.graph.node[0].CopyFrom(helper.make_node(operator, names, ["z"], "n", domain="rectexport", **attributes))
    return model


def test_what_this_release_writes_has_no_fault() -> None:
    assert faults(crelu()) == []
    assert faults(node("Rectify", 3, **WINDOW)) == []
    assert faults(node("SymmetricPad", splits=[1, 1, 1, 1], pads=[0] * 16)) == []
    assert faults(node("BoundaryPad", modes=[5, 1], pads=[1, 1, 1, 1])) == []
    assert faults(node("CRelu", axis=-4)) == []


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (node("Unheard"), "no such operator"),
        (node("CRelu", 2, axis=1), "expected 1 inputs and an output"),
        (node("CRelu"), "expected attributes axis"),
        (node("CRelu", axis=1.0), "expected attributes axis"),
        (node("CRelu", axis=1, more=1), "expected attributes axis"),
        (node("CRelu", axis=-5), "axis: expected 1 ints of -4..65536"),
        (node("Rectify", 3, **{**WINDOW, "kernel_shape": [3]}), "kernel_shape: expected 2 ints of 1..65536"),
        (node("Rectify", 3, **{**WINDOW, "strides": [0, 1]}), "strides: expected 2 ints of 1..65536"),
        (node("Rectify", 3, **{**WINDOW, "pads": [-1, 0, 0, 0]}), "pads: expected 4 ints of 0..65536"),
        (node("Rectify", 3, **{**WINDOW, "dilations": [1, 1 << 17]}), "dilations: expected 2 ints of 1..65536"),
        (node("Rectify", 3, **{**WINDOW, "numerator": 0}), "numerator: expected 1 ints of 1..65536"),
        (node("SymmetricPad", splits=[1, 1, 1, 1], pads=[0] * 4), "pads: expected 16 ints of 0..65536"),
        (node("BoundaryPad", modes=[1, 1], pads=[0] * 3), "expected 1..3 modes and twice as many pads, got 2 and 3"),
        (node("BoundaryPad", modes=[1] * 4, pads=[0] * 8), "expected 1..3 modes and twice as many pads, got 4 and 8"),
        (node("BoundaryPad", modes=[1, 7], pads=[0] * 4), "modes: expected ints of 0..6"),
        (node("BoundaryPad", modes=[1, 1], pads=[0, -1, 0, 0]), "pads: expected ints of 0..65536"),
        (node("BoundaryPad", modes=[1, 5], pads=[0] * 4), "modes: a pole border belongs to the axis before the last"),
        (node("SymmetricPad", splits=[1, 1, 2], pads=[0] * 16), "splits: expected 4 ints of 0..65536"),
    ],
)
def test_a_faulty_node_is_named(model: ModelProto, fault: str) -> None:
    (found,) = faults(model)
    assert found == f"rectexport.{model.graph.node[0].op_type} n: {fault}"


def test_a_function_with_another_body_is_refused() -> None:
    model = crelu()
    model.functions[0].node[0].op_type = "Abs"
    assert faults(model) == ["it has a function rectexport.CRelu of its own, which is not this release's"]


def test_a_function_with_another_default_is_refused() -> None:
    window = "kernel_shape=[1,1], strides=[1,1], pads=[0,0,0,0], dilations=[1,1], numerator=1, empty_bias=1"
    model = build("(float[N,2,H,W] x, float[2] b) => (float[N,2,H,W] z)", f"z = rectexport.Rectify<{window}>(x, x, b)")
    assert faults(model) == []
    model.functions[0].attribute_proto[0].i = 1
    assert faults(model) == ["it has a function rectexport.Rectify of its own, which is not this release's"]


def test_a_function_of_an_unknown_name_is_refused_and_those_of_others_are_not_looked_at() -> None:
    model = crelu()
    model.functions[0].name = "Mine"
    assert "function rectexport.Mine of its own" in faults(model)[0]
    model.functions[0].domain = "other"
    assert faults(model) == []


def test_what_tools_add_to_a_body_does_not_matter() -> None:
    model = crelu()
    model.functions[0].doc_string = "documented"
    for index, entry in enumerate(model.functions[0].node):
        entry.name, entry.doc_string = f"node{index}", "documented"
    assert faults(model) == []
