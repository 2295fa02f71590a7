"""bfloat16 in the graph: what goes, what stays, and that the emulation rounds where the graph does."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, checker, shape_inference

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.graph.inner import run_inner
from rectexport.exporter.passes.precision import bfloat16
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.runtime.errors import BadInput
from tests.export.helper import (
    build,
    constants,
    normal,
    outputs,
    passes_after_lowering,
    relative_l2,
    signature,
    tensors,
)
from tests.export.nets import Small, exported, image, seeded, source

WINDOW = "kernel_shape=[7,7], strides=[1,1], pads=[3,3,3,3], dilations=[1,1], numerator=49"
pytestmark = pytest.mark.usefixtures("shared_traces")


def rounded(values: np.ndarray) -> np.ndarray:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def net(dims: str, form: str = "auto") -> ModelProto:
    """A rectified 7x7 convolution, an addition, a pool and a product; r is 49/20 in a corner, no bfloat16 number."""
    body = f"""
      a = Conv<pads=[3,3,3,3]>(x, w)
      b = rectexport.Rectify<{WINDOW}, empty_bias=1>(a, x, bias)
      c = Relu(b)
      d = Add(c, x)
      e = GlobalAveragePool(d)
      f = Flatten(e)
      z = MatMul(f, m)
    """
    weights = {"w": normal(2, 2, 7, 7) / 7, "bias": normal(2, seed=1), "m": normal(2, 3, seed=2)}
    model = build(f"(float[N,2,{dims}] x) => (float[N,3] z)", body, 22, **weights)
    return run_passes(model, passes_after_lowering(form), [], Log(), guard=False)[0]


def types(model: ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}


@pytest.mark.parametrize("dims", ["8,9", "H,W"])
def test_rectification_stays_exact(dims: str) -> None:
    model = net(dims)
    before = model.SerializeToString()
    converted, result = bfloat16.run(model)
    assert model.SerializeToString() == before
    checker.check_model(converted, full_check=True)
    assert signature(converted) == signature(model)
    (scale,) = [node for node in converted.graph.node if node.name.startswith(SCALE_PREFIX)]
    found = {**types(converted), **{entry.name: entry.data_type for entry in converted.graph.initializer}}
    assert [found[name] for name in (*scale.input, *scale.output)] == [TensorProto.FLOAT] * 3
    assert [(entry.node, entry.reason) for entry in result.refused] == [
        (scale.name, "rectification factors stay exact")
    ]
    kinds = {node.op_type: found[node.output[0]] for node in converted.graph.node if node.op_type != "Cast"}
    for op in ("Conv", "Relu", "Add", "GlobalAveragePool", "MatMul"):
        assert kinds[op] == TensorProto.BFLOAT16, op
    assert constants(converted)["w.bfloat16"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("dims", ["8,9", "H,W"])
def test_the_emulation_rounds_every_tensor(dims: str) -> None:
    model = net(dims)
    converted, _ = bfloat16.run(model)
    emulated = bfloat16.emulate(converted)
    checker.check_model(emulated, full_check=True)
    assert signature(emulated) == signature(model)
    halves = [name for name, kind in types(converted).items() if kind == TensorProto.BFLOAT16]
    assert len(halves) > 5
    x = normal(2, 2, 8, 9)
    inner = [name for node in emulated.graph.node for name in node.output if not name.endswith(".rounded")]
    values, exact = run_inner(emulated, {"x": x}, inner, optimize=False), tensors(model, {"x": x})
    for name in halves:
        np.testing.assert_array_equal(values[name], rounded(values[name]), err_msg=name)
    for name, value in values.items():
        if name in exact and exact[name].dtype == np.float32:
            assert relative_l2(exact[name], value) <= 2e-2, name
    np.testing.assert_array_equal(values["a"], rounded(values["a.exact"]))
    assert 1e-4 < relative_l2(outputs(model, {"x": x})[0], outputs(emulated, {"x": x})[0]) <= 2e-2


def test_the_emulation_agrees_with_numpy() -> None:
    """Two products, rounded by hand."""
    model = build("(float[N,4] x) => (float[N,2] z)", "a = MatMul(x, u)\n z = MatMul(a, v)", 22,
                  u=normal(4, 3), v=normal(3, 2, seed=1))  # fmt: skip
    emulated = bfloat16.emulate(bfloat16.run(model)[0])
    x = normal(5, 4, seed=2)
    a = rounded(rounded(x) @ rounded(normal(4, 3)))
    expected = rounded(a @ rounded(normal(3, 2, seed=1)))
    np.testing.assert_allclose(outputs(emulated, {"x": x})[0], expected, rtol=2**-8)


def test_values_that_onnx_needs_in_float32_stay_so() -> None:
    """Resize takes its scales in float32; a cast to float32 stays one; a shared weight gets a twin."""
    model = build(
        "(float[N,1,4,4] x) => (float[N,1,8,8] z, float[N,1,4,4] k)",
        "a = Mul(x, w)\n z = Resize<mode=\"nearest\">(a, , scales)\n i = Cast<to=6>(x)\n j = Cast<to=1>(i)\n"
        "big = Mul(j, huge)\n k = Mul(big, w)",
        22,
        w=normal(1, 1, 4, 4),
        scales=np.array([1, 1, 2, 2], np.float32),
        huge=np.full(1, 3.4e38, np.float32),
    )  # fmt: skip
    converted, result = bfloat16.run(model)
    checker.check_model(converted, full_check=True)
    assert [entry.reason for entry in result.refused] == ["a weight is beyond bfloat16's range"]
    assert constants(converted)["scales"].dtype == np.float32
    assert constants(converted)["huge"].dtype == np.float32


def test_an_old_opset_is_refused() -> None:
    model = build("(float[N,4] x) => (float[N,3] z)", "z = MatMul(x, u)", u=normal(4, 3))
    with pytest.raises(
        BadInput, match=r"bf16: convolutions have bfloat16 since opset 22, and this model has 18; add opset=22"
    ):
        bfloat16.run(model)


def test_an_export(tmp_path: Path) -> None:
    result = exported(source(seeded(Small()), image(2, 2, 6, 6)), tmp_path / "net", bf16=True, opset=22)
    data = result.package.manifest.data
    assert data["options"]["precision"] == "bf16" and data["tolerances"] == {"relative_l2": 2e-2}
    assert result.parity.as_dict()["backend"] == "onnxruntime CPU, bfloat16 emulated in float32"
    assert 1e-4 < result.parity.cases[0].outputs["output"].relative_l2 <= 2e-2
    model = onnx.load(result.package.model_file)
    checker.check_model(model, full_check=True)
    assert any(entry.data_type == TensorProto.BFLOAT16 for entry in model.graph.initializer)
