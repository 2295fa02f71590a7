"""The Q/DQ model: valid, near the float one, in the form that each engine runs in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.quantize import quantizer
from rectexport.exporter.quantize.measuring import model_outputs, snr_db
from rectexport.exporter.quantize.quantizer import Quantized, Quantizer
from rectexport.exporter.quantize.ran_in_int8 import float_layers, layer_nodes
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from tests.export.helper import build
from tests.export.quantize.nets import items, rectified_net


def quantize(target: str, size: int = 8, **options: object) -> tuple[onnx.ModelProto, Quantized]:
    model = rectified_net(size)
    asked = Int8(None, **options)  # type: ignore[arg-type]
    return model, Quantizer(model, items(96, size), (8, 1), asked, Log()).run(target)


@pytest.mark.parametrize("size", [8, 28])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
def test_the_quantized_model_is_valid_and_near(target: str, size: int) -> None:
    model, found = quantize(target, size)
    onnx.checker.check_model(found.model, full_check=True)
    held = items(16, size, seed=5)
    assert snr_db(model_outputs(model, held, (8, 1)), model_outputs(found.model, held, (8, 1))) > 28
    assert [value.name for value in found.model.graph.output] == ["logits"]


@pytest.mark.parametrize("size", [8, 28])
def test_onnx_runtime_runs_its_form_in_int8_and_exactly(tmp_path: Path, size: int) -> None:
    _, found = quantize("onnxruntime", size)
    path = tmp_path / "model.onnx"
    onnx.save(found.model, path)
    assert float_layers("onnxruntime", path, layer_nodes(found.model)) == []
    held, runner = items(4, size, seed=6), OnnxRuntimeRunner(path)
    own = model_outputs(found.model, held, (4, 1))
    assert snr_db(own, list(runner.run(held.feeds).values())) > 40


def test_openvino_runs_its_form_in_int8(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    _, found = quantize("openvino")
    onnx.save(found.model, tmp_path / "model.onnx")
    assert float_layers("openvino", tmp_path / "model.onnx", layer_nodes(found.model)) == []


def test_another_engines_form_is_found_to_run_in_float(tmp_path: Path) -> None:
    _, found = quantize("openvino")
    onnx.save(found.model, tmp_path / "model.onnx")
    assert "a" in float_layers("onnxruntime", tmp_path / "model.onnx", layer_nodes(found.model))


def stored(model: onnx.ModelProto, kind: int) -> list[np.ndarray]:
    return [numpy_helper.to_array(entry) for entry in model.graph.initializer if entry.data_type == kind]


def test_tensorrt_gets_zero_points_of_0_and_biases_in_float() -> None:
    _, found = quantize("tensorrt")
    assert not stored(found.model, TensorProto.UINT8) and not stored(found.model, TensorProto.INT32)
    zeros = [array for array in stored(found.model, TensorProto.INT8) if array.ndim < 2]
    assert zeros and not any(array.any() for array in zeros)
    reads = {node.name: node.input for node in found.model.graph.node}
    assert "a.out.dequantized" in reads["add"] and "b.out" in reads["add"]


@pytest.mark.parametrize(("portable", "largest"), [(True, 63), (False, 127)])
def test_portable_weights_have_7_bits(portable: bool, largest: int) -> None:
    _, found = quantize("tensorrt", portable=portable)  # for the others, 8 bits depend on this processor
    weights = [array for array in stored(found.model, TensorProto.INT8) if array.ndim > 1]
    assert max(np.abs(array.astype(int)).max() for array in weights) == largest
    assert found.bits == (7 if portable else 8)


def test_an_output_that_a_convolution_makes_keeps_its_name() -> None:
    model = rectified_net()
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("b.out", TensorProto.FLOAT, ["n", 6, 8, 8]))
    found = Quantizer(model, items(96), (8, 1), Int8(None), Log()).run("onnxruntime")
    onnx.checker.check_model(found.model, full_check=True)
    held = items(4, seed=7)
    assert snr_db(model_outputs(model, held, (4, 1)), model_outputs(found.model, held, (4, 1))) > 28


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize("size", [8, 28])
def test_biases_undo_the_mean_error_of_the_weights(monkeypatch: pytest.MonkeyPatch, target: str, size: int) -> None:
    """With weights of 3 bits, rounded to the nearest, it is most of the error, in each form."""
    monkeypatch.setattr(Quantizer, "_bits", lambda self, target: (8, "on any processor"))
    monkeypatch.setattr(quantizer, "EIGHT_BIT", 3)
    monkeypatch.setattr(quantizer, "MOST", 0)
    held = items(16, size, seed=5)
    ratios = []
    for means in (True, False):
        if not means:
            monkeypatch.setattr(Quantizer, "_means", lambda self: {})
        model, found = quantize(target, size)
        ratios.append(snr_db(model_outputs(model, held, (8, 1)), model_outputs(found.model, held, (8, 1))))
    assert ratios[0] > ratios[1] + 3


def test_a_circular_border_of_the_input_is_made_of_integers(tmp_path: Path) -> None:
    """OpenVINO computes a layer in float that reads a Concat whose zero point is not 0."""
    openvino = pytest.importorskip("openvino")
    rng = np.random.default_rng(0)
    body = """a = Slice(x, first, one, axis) b = Slice(x, seven, eight, axis) p = Concat<axis=3>(b, x, a)
      c = Conv<pads=[1,0,1,0]>(p, w) r = Relu(c) y = Conv(r, v)"""
    bounds = {"first": [0], "one": [1], "seven": [7], "eight": [8], "axis": [3]}
    model = build(
        "(float[n,3,8,8] x) => (float[n,2,6,6] y)",
        body,
        18,
        **{name: np.array(value) for name, value in bounds.items()},
        w=rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32),
        v=rng.normal(0, 0.3, (2, 6, 3, 3)).astype(np.float32),
    )
    for node in model.graph.node:
        node.name = node.output[0]
    found = Quantizer(model, items(96), (8, 1), Int8(None), Log()).run("openvino")
    onnx.save(found.model, tmp_path / "model.onnx")
    assert float_layers("openvino", tmp_path / "model.onnx", layer_nodes(found.model)) == []
    kinds = {node.op_type: node for node in found.model.graph.node}
    assert (
        kinds["Concat"].output[0] == "p.stored"
        and next(node for node in found.model.graph.node if node.op_type == "QuantizeLinear").input[0] == "x"
    )
    held = items(4, seed=6)
    own = model_outputs(found.model, held, (4, 1))
    compiled = openvino.Core().compile_model(str(tmp_path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert snr_db(own, [compiled(held.feeds)[0]]) > 40
    assert snr_db(model_outputs(model, held, (4, 1)), own) > 28
