"""Several models share the file of their weights, and each comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rectexport.exporter.writing.shared_data import ALIGNMENT, SMALLEST, write_models
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package.folder import MODEL, WEIGHTS

LARGE = np.arange(SMALLEST, dtype=np.float32).reshape(1, -1)
SMALL = np.float32([[2.0]])


def model(*added: np.ndarray) -> ModelProto:
    """y = x + the sum of all arrays."""
    names = [f"c{index}" for index in range(len(added))]
    nodes, last = [], "x"
    for index, name in enumerate(names):
        out = "y" if index == len(names) - 1 else f"t{index}"
        nodes.append(helper.make_node("Add", [last, name], [out]))
        last = out
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in "xy")
    stored = [numpy_helper.from_array(array, name) for array, name in zip(added, names, strict=True)]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def answer(path: Path) -> np.ndarray:
    runner = OnnxRuntimeRunner(path)
    found = runner.run({"x": np.zeros((1, SMALLEST), np.float32)})["y"]
    runner.close()
    return found


def test_a_single_model_keeps_its_weights(tmp_path: Path) -> None:
    write_models(tmp_path, {MODEL: model(LARGE)}, {"key": "value"})
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]


def test_equal_tensors_of_two_models_are_stored_once(tmp_path: Path) -> None:
    first, second = model(LARGE, SMALL), model(LARGE, LARGE + 1)
    before = [first.SerializeToString(), second.SerializeToString()]
    write_models(tmp_path, {MODEL: first, "model.openvino.onnx": second}, {})
    assert [first.SerializeToString(), second.SerializeToString()] == before
    assert (tmp_path / WEIGHTS).stat().st_size == 2 * LARGE.nbytes
    np.testing.assert_array_equal(answer(tmp_path / MODEL), LARGE + SMALL)
    np.testing.assert_array_equal(answer(tmp_path / "model.openvino.onnx"), LARGE + LARGE + 1)


def test_every_tensor_begins_at_an_aligned_place(tmp_path: Path) -> None:
    odd = np.arange(SMALLEST + 3, dtype=np.uint8).astype(np.int8)[None]
    nodes = [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])]
    values = [helper.make_tensor_value_info(name, TensorProto.INT8, [1, None]) for name in "yz"]
    stored = [numpy_helper.from_array(odd, "a"), numpy_helper.from_array(odd[:, ::-1].copy(), "b")]
    one = helper.make_model(helper.make_graph(nodes, "g", [], values, stored))
    write_models(tmp_path, {MODEL: one, "model.openvino.onnx": model(LARGE)}, {})
    written = onnx.load(tmp_path / MODEL, load_external_data=False).graph.initializer
    offsets = [int(entry.value) for tensor in written for entry in tensor.external_data if entry.key == "offset"]
    assert len(offsets) == 2 and not any(offset % ALIGNMENT for offset in offsets)
    whole = onnx.load(tmp_path / MODEL).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(whole[1]), odd[:, ::-1])


def test_values_that_are_no_raw_bytes_are_shared_too(tmp_path: Path) -> None:
    listed = model(LARGE)
    del listed.graph.initializer[:]
    listed.graph.initializer.append(helper.make_tensor("c0", TensorProto.FLOAT, LARGE.shape, LARGE.ravel()))
    assert not listed.graph.initializer[0].HasField("raw_data")
    write_models(tmp_path, {MODEL: model(LARGE), "model.openvino.onnx": listed}, {})
    assert (tmp_path / WEIGHTS).stat().st_size == LARGE.nbytes
    np.testing.assert_array_equal(answer(tmp_path / "model.openvino.onnx"), LARGE)
