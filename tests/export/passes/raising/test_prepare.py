"""What a model needs before dialect nodes can stand in it."""

from __future__ import annotations

import pytest
from onnx import ModelProto, checker, parser

from rectexport.exporter.graph.dialect import default_opset
from rectexport.exporter.passes.raising.prepare import CONVERTED_OPSET, FUNCTIONS_IR_VERSION, MIN_OPSET, prepare

BODY = "g (float[2, 3] x) => (float[2, 3] y) { a = Relu(x) y = Neg(a) }"


def model_of(opset: int, ir_version: int = 8, body: str = BODY) -> ModelProto:
    return parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> {body}')


def noted(model: ModelProto) -> dict[str, list[int]]:
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info}


def test_a_model_that_is_ready_is_left_alone():
    ready = prepare(model_of(MIN_OPSET))
    assert prepare(ready) is ready


@pytest.mark.parametrize(
    ("opset", "expected"), [(MIN_OPSET - 1, CONVERTED_OPSET), (11, CONVERTED_OPSET), (15, 15), (22, 22)]
)
def test_an_old_opset_is_converted_and_shapes_are_inferred(opset, expected):
    model = model_of(opset, ir_version=7)
    before = model.SerializeToString()
    ready = prepare(model)
    assert model.SerializeToString() == before
    checker.check_model(ready)
    assert default_opset(ready) == expected and ready.ir_version == FUNCTIONS_IR_VERSION
    assert noted(ready) == {"a": [2, 3]}


def test_a_newer_file_version_is_kept():
    assert prepare(model_of(18, ir_version=10)).ir_version == 10


def test_what_cannot_be_converted_gives_the_reason_in_one_line():
    reason = prepare(model_of(13, body=BODY.replace("Neg", "Unheard")))
    assert isinstance(reason, str) and reason.startswith("opset 13 could not be converted to 18: ")
    assert "\n" not in reason and len(reason) < 260


def test_a_model_whose_shapes_contradict_each_other_is_taken_without_them():
    model = model_of(18, body="g (float[2, 3] x, float[4] o) => (float[2, 3] y) { a = Add(x, o) y = Neg(a) }")
    ready = prepare(model)
    assert isinstance(ready, ModelProto) and [node.op_type for node in ready.graph.node] == ["Add", "Neg"]
