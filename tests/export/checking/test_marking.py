"""Inner tensors become outputs: the right ones, in slices that fit, in a package that any engine opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, parser

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.checking import marking
from rectexport.exporter.checking.marking import MarkedTensor, comparable, oversized, slices, write_marked
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package.folder import Package

NET = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[n, 2, h, w] x) => (float[n, 2] y)
<float[2, 2, 1, 1] a = {1, 2, 3, 4}, int64[2] axes = {2, 3}> {
  size = Shape (x)
  conv = Conv (x, a)
  active = Relu (conv)
  wide = Concat <axis = 1> (active, active)
  rows = Cast <to = 1> (size)
  halves, rest = Split <axis = 1, num_outputs = 2> (wide)
  y = ReduceMean <keepdims = 0> (halves, axes)
}
"""
X = {"x": np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)}


@pytest.fixture(scope="module")
def model() -> ModelProto:
    return parser.parse_model(NET)


@pytest.fixture(scope="module")
def package(model: ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("marking")
    onnx.save(model, folder / "net.onnx")
    shapes = ShapeOptions(opt=["1x2x4x4"], min=["1x2x4x4"], max=["4x2x8x8"])
    return run_export(load_source(folder / "net.onnx"), shapes, folder / "net", ExportOptions(), Log()).package


def names(model: ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output}


def test_activations_are_compared_and_shapes_and_outputs_are_not(model: ModelProto) -> None:
    found = {tensor.name: tensor.elements for tensor in comparable(model, X, names(model))}
    assert list(found) == ["conv", "active", "wide", "halves", "rest"]
    assert found["conv"] == 3 * 2 * 4 * 5 and found["wide"] == 2 * found["conv"]
    assert [tensor.name for tensor in comparable(model, X, {"wide", "unheard of"})] == ["wide"]


def test_a_size_that_is_not_known_counts_as_the_largest(model: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(sized: ModelProto, **_: Any) -> ModelProto:
        inferred: ModelProto = infer(sized, data_prop=True)
        for value in inferred.graph.value_info:
            if value.name == "conv":
                value.type.tensor_type.ClearField("shape")
        return inferred

    infer = marking.shape_inference.infer_shapes
    monkeypatch.setattr(marking.shape_inference, "infer_shapes", forget)
    found = {tensor.name: tensor.elements for tensor in comparable(model, X, names(model))}
    assert found["conv"] == found["wide"] == 240


@given(
    sizes=st.lists(st.integers(1, 1000), max_size=12),
    memory=st.integers(1, 60_000),
)
def test_slices_hold_everything_in_order_and_fit(sizes: list[int], memory: int) -> None:
    tensors = [MarkedTensor(f"t{index}", size) for index, size in enumerate(sizes)]
    groups = list(slices(tensors, memory))
    assert [name for group in groups for name in group] == [tensor.name for tensor in tensors]
    large = oversized(tensors, memory)
    for group in groups:
        held = [tensor.elements for tensor in tensors if tensor.name in group]
        assert 12 * sum(held) + 40 * max(held) <= memory or (len(group) == 1 and group[0] in large)


def test_the_marked_package_opens_and_answers_as_before(package: Package, tmp_path: Path) -> None:
    model = onnx.load(package.model_file)
    inner = [tensor.name for tensor in comparable(model, X, names(model))]
    marked = write_marked(package, model, inner, tmp_path)
    marked.verify_files()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "model.onnx"]
    before, after = (OnnxRuntimeRunner(entry.model_file).run(X) for entry in (package, marked))
    assert list(after) == ["y", *inner]
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-6)
    assert [value.name for value in onnx.load(package.model_file).graph.output] == ["y"]
    package.verify_files()
