"""float16 in the graph, and what stays in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, checker, shape_inference

from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.passes.precision import half
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.runtime.errors import MissingDependency
from tests.export.helper import (
    build,
    constants,
    normal,
    operators,
    outputs,
    passes_after_lowering,
    relative_l2,
    signature,
    tensors,
)
from tests.export.nets import Small, exported, image, seeded, source
from tests.places import DIGITS

WINDOW = "kernel_shape=[7,7], strides=[1,1], pads=[3,3,3,3], dilations=[1,1], numerator=49"
pytestmark = pytest.mark.usefixtures("shared_traces")
RANGE = ShapeOptions(min=["x:1x1x5x5"], opt=["x:2x1x8x8"], max=["x:3x1x16x16"])


def lowered(dims: str, noted: bool = True) -> ModelProto:
    """Two 7x7 rectified convolutions of one geometry: r is 49/20 in a corner, no float16 number."""
    body = f"""
      a = Conv<pads=[3,3,3,3]>(x, w)
      b = rectexport.Rectify<{WINDOW}, empty_bias=1>(a, x, zero)
      c = Conv<pads=[3,3,3,3]>(b, w)
      z = rectexport.Rectify<{WINDOW}, empty_bias=1>(c, b, zero)
    """
    zero = np.zeros(2, np.float32)
    model = build(f"(float[N,2,{dims}] x) => (float[N,2,{dims}] z)", body, w=normal(2, 2, 7, 7) / 7, zero=zero)
    for value in model.graph.value_info:
        if value.name == "b" and dims == "H,W":
            value.type.tensor_type.shape.dim[2].dim_param = "H"
            value.type.tensor_type.shape.dim[3].dim_param = "W"
    model, _ = run_passes(model, passes_after_lowering(), [], Log(), guard=False)
    if not noted:
        del model.graph.value_info[:]
    return model


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("dims", ["8,9", "H,W"])
def test_rectification_stays_exact(dims: str, noted: bool) -> None:
    """The factors are computed, kept and multiplied by in float32, whether shapes are static or not."""
    model = lowered(dims, noted)
    before = model.SerializeToString()
    converted, result = half.run(model)
    assert model.SerializeToString() == before
    checker.check_model(converted)
    assert signature(converted) == signature(model)
    scales = [node for node in converted.graph.node if node.name.startswith(SCALE_PREFIX)]
    assert len(scales) == 2
    x = normal(2, 2, 8, 9)
    values = {**tensors(converted, {"x": x}), **constants(converted)}
    exact = {**tensors(model, {"x": x}), **constants(model)}
    for node in scales:
        assert [values[name].dtype for name in (*node.input, *node.output)] == [np.float32] * 3
        np.testing.assert_array_equal(values[node.input[1]], exact[node.input[1]])
    assert {entry.reason for entry in result.refused} == {"rectification factors stay exact"}
    assert {entry.node for entry in result.refused} == {node.name for node in scales}
    assert values["w"].dtype == np.float16
    assert relative_l2(outputs(model, {"x": x})[0], outputs(converted, {"x": x})[0]) <= 5e-3


def test_the_rest_is_float16() -> None:
    converted, result = half.run(lowered("8,9"))
    values = tensors(converted, {"x": normal(1, 2, 8, 9)})
    convolved = [values[node.output[0]].dtype for node in converted.graph.node if node.op_type == "Conv"]
    assert convolved == [np.float16, np.float16]
    assert result.name == "float16"
    assert result.fired == ("1 weights",)


@pytest.mark.parametrize("limit", [65504, 65536])
def test_weights_beyond_the_range(limit: int) -> None:
    """A node with such a weight stays in float32, and so do both that read one."""
    big = normal(3, 3)
    big[1, 1] = -limit
    model = build(
        "(float[N,3] x) => (float[N,3] z)",
        "a = MatMul(x, big)\n b = MatMul(x, big)\n c = Add(a, b)\n z = MatMul(c, small)",
        big=big,
        small=normal(3, 3, seed=1) / 64,
    )
    converted, result = half.run(model)
    checker.check_model(converted)
    kept = limit > 65504
    assert [entry.reason for entry in result.refused] == ["a weight is beyond float16's range"] * (2 if kept else 0)
    assert constants(converted)["big"].dtype == (np.float32 if kept else np.float16)
    assert constants(converted)["small"].dtype == np.float16
    np.testing.assert_array_equal(constants(converted)["big"].astype(np.float32)[1, 1], -limit)
    x = np.abs(normal(2, 3)) / 64
    assert relative_l2(outputs(model, {"x": x})[0], outputs(converted, {"x": x})[0]) <= 5e-3


def test_nodes_without_names_are_distinguished() -> None:
    """Only the node with the large weight is kept, though no node has a name."""
    model = build(
        "(float[N,3] x) => (float[N,3] z)",
        "a = Mul(x, big)\n b = Div(a, big)\n z = Mul(b, small)",
        big=np.full(3, 1e6, np.float32),
        small=normal(3),
    )
    converted, result = half.run(model)
    assert [entry.node for entry in result.refused] == ["Mul.a", "Div.b"]
    values = tensors(converted, {"x": normal(2, 3)})
    assert [values[node.output[0]].dtype for node in converted.graph.node if node.op_type == "Mul"] == [
        np.float32,
        np.float16,
    ]


def test_noted_types_and_shapes_are_true() -> None:
    """Type inference over the converted model agrees with itself and with ONNX Runtime."""
    converted, _ = half.run(lowered("H,W"))
    inferred = shape_inference.infer_shapes(converted, check_type=True, strict_mode=True)
    values = tensors(converted, {"x": normal(1, 2, 8, 9)})
    noted = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert len(noted) > 10
    for name in noted.keys() & values.keys():
        assert onnx.helper.tensor_dtype_to_np_dtype(noted[name]) == values[name].dtype, name


def test_values_beyond_the_range() -> None:
    """a and b exceed float16 on the example: what makes and reads them stays in float32, with no cast between.

    Parity would not tell: ONNX Runtime's CPU provider computes most of float16 in float32.
    """
    model = build(
        "(float[N,3] x) => (float[N,3] z)",
        "a = MatMul(x, up)\n b = Relu(a)\n c = Mul(b, down)\n z = MatMul(c, w)",
        up=np.full((3, 3), 5e4, np.float32),
        down=np.full(3, 1e-5, np.float32),
        w=normal(3, 3),
    )
    x = np.abs(normal(2, 3)) + 1
    converted, result = half.run(model, [{"x": x}])
    checker.check_model(converted)
    assert {entry.reason for entry in result.refused} == {"its values come near the end of float16's range"}
    assert [entry.node for entry in result.refused] == ["MatMul.a", "Relu.b", "Mul.c"]
    assert relative_l2(outputs(model, {"x": x})[0], outputs(converted, {"x": x})[0]) <= 5e-3
    kinds = {name: values.dtype for name, values in tensors(converted, {"x": x}).items()}
    assert kinds["a"] == kinds["b"] == np.float32
    first = operators(converted).index("MatMul")
    assert operators(converted)[first : first + 3] == ["MatMul", "Relu", "Mul"]  # no cast between them
    assert half.run(model, [{"x": x / 1e4}])[1].refused == ()


@pytest.mark.parametrize("shapes", [ShapeOptions(), RANGE], ids=["static", "dynamic"])
def test_digits(shapes: ShapeOptions, tmp_path: Path) -> None:
    result = exported(load_source(DIGITS), tmp_path / "digits", shapes, fp16=True)
    model = onnx.load(result.package.model_file)
    checker.check_model(model)
    floats = {entry.name for entry in model.graph.initializer if entry.data_type == TensorProto.FLOAT16}
    assert len(floats) > 8
    kinds = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert len([entry for entry in result.passes[-1].refused if entry.node.startswith(SCALE_PREFIX)]) == 4
    for case in result.parity.cases:
        assert 1e-6 < case.outputs["output"].relative_l2 <= 5e-3
        assert all(layer.worst[1] <= 5e-3 for layer in case.layers)
    data = result.package.manifest.data
    assert data["options"]["precision"] == "fp16"
    assert data["tolerances"] == {"relative_l2": 5e-3}
    assert [entry["name"] for entry in data["passes"]][-1] == "float16"
    assert "Cast" in operators(model)


def test_a_tolerance_of_the_checkpoint_does_not_tighten_half(tmp_path: Path) -> None:
    net = source(seeded(Small()), image(1, 2, 6, 6))
    net.tolerances = {"relative_l2": 1e-7}
    result = exported(net, tmp_path / "a", fp16=True)
    assert result.parity.tolerance.relative_l2 == 5e-3
    net.tolerances = {"relative_l2": 0.1}
    assert exported(net, tmp_path / "b", fp16=True).parity.tolerance.relative_l2 == 0.1


@pytest.mark.parametrize("version", ["1.23.2", "1.24.4"])
def test_a_converter_that_loses_float32_is_not_used(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr("onnxruntime.__version__", version)
    with pytest.raises(MissingDependency, match=rf"takes ONNX Runtime 1\.25 or newer to export, and this is {version}"):
        half.run(lowered("8,9", True))
