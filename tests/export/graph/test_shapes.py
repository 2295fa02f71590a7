"""Shapes inferred across dialect nodes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper, parser

from rectexport.exporter.graph import shapes
from rectexport.exporter.graph.shapes import infer_shapes
from tests.export.helper import build, normal

WINDOW = "kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 1, 1], dilations = [1, 1], numerator = 9"
CORNERS = "0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1"


def model_of(body: str, signature: str = "(float[N, 8, 5, 6] x) => (float[A, B, C, D] z)") -> ModelProto:
    header = '<ir_version: 8, opset_import: ["" : 18, "rectexport" : 1]>'
    return parser.parse_model(f"{header} g {signature} <float[3, 8, 3, 3] w, float[3] b> {{ {body} z = Relu(m) }}")


def shape_of(model: ModelProto, name: str) -> list[int | str]:
    (value,) = (entry for entry in (*model.graph.value_info, *model.graph.output) if entry.name == name)
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            f"y = Conv<pads = [1, 1, 1, 1], strides = [2, 1]>(x, w) m = rectexport.Rectify<{WINDOW}>(y, x, b)",
            ["N", 3, 3, 6],
        ),
        (f"m = rectexport.SymmetricPad<splits = [2, 2, 2, 2], pads = [{CORNERS}]>(x)", ["N", 8, 6, 7]),
        ("m = rectexport.BoundaryPad<modes = [4, 1], pads = [1, 2, 0, 1]>(x)", ["N", 8, 6, 9]),
        ("m = rectexport.CRelu<axis = 1>(x)", ["N", 16, 5, 6]),
        ("m = rectexport.NegConcat<axis = -1>(x)", ["N", 8, 5, 12]),
    ],
)
def test_each_operator(body: str, expected: list[int | str]) -> None:
    model = model_of(body)
    before = model.SerializeToString()
    inferred = infer_shapes(model)
    assert model.SerializeToString() == before
    assert shape_of(inferred, "m") == expected and shape_of(inferred, "z")[1:] == expected[1:]
    assert [node.op_type for node in inferred.graph.node] == [node.op_type for node in model.graph.node]
    assert not {entry.name for entry in inferred.graph.initializer} - {"w", "b"}


def test_a_model_that_onnx_refuses_comes_back_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: ModelProto, **options: object) -> ModelProto:
        raise ValueError("too large")

    model = model_of("m = rectexport.CRelu<axis = 1>(x)")
    monkeypatch.setattr(shapes.shape_inference, "infer_shapes", refuse)
    assert infer_shapes(model) is model


def test_outputs_keep_their_type_behind_sparse_initializers() -> None:
    body = "w = Reshape(s, wide)\n y = Add(x, w)"
    model = build("(float[2,4] x) => (float[A,B] y)", body, s=normal(4), wide=np.array([1, 4]))
    parts = helper.make_tensor("s", 1, [2], [1, 2]), helper.make_tensor("places", 7, [2], [1, 3])
    del model.graph.initializer[0], model.graph.value_info[:]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(*parts, [4]))
    inferred = infer_shapes(model)
    assert [value.type.tensor_type.elem_type for value in inferred.graph.output] == [1]
    assert all(value.type.tensor_type.elem_type for value in inferred.graph.value_info)
