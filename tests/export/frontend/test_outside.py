"""Large weights stay in their files while a model is optimized or examined, and come out as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import rectexport
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, OptimizeOptions, ShapeOptions
from rectexport.exporter.frontend import load as load_module
from rectexport.exporter.frontend import outside as outside_module
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.onnx_file import read_onnx
from rectexport.exporter.optimize import run_optimize
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import UsageError
from tests.export.helper import build, normal

BODY = """a = Conv<pads=[1,1,1,1]>(x, w)
 b = BatchNormalization(a, s, t, m, v)
 c = Flatten(b)
 d = Gemm(c, large)
 y = Gemm(d, small)"""
X = normal(1, 2, 4, 4)
#: Bytes that may be read: all but the largest tensor.
KEPT = 4000


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MAX_BYTES", KEPT)
    monkeypatch.setattr(outside_module, "KEPT", KEPT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model whose weights lie beside it."""
    weights = {"w": normal(3, 2, 3, 3), "large": normal(48, 40), "small": normal(40, 5)}
    statistics = {"s": normal(3) + 2, "t": normal(3), "m": normal(3), "v": np.abs(normal(3)) + 1}
    model = build("(float[1,2,4,4] x) => (float[1,5] y)", BODY, **weights, **statistics)
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "model.onnx"
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=100)
    return file


def answer(path: Path) -> Any:
    return OnnxRuntimeRunner(path).run({"x": X})["y"]


def test_the_largest_tensors_become_inputs(path: Path) -> None:
    model, outside = read_onnx(path, whole=KEPT)
    assert list(outside.tensors) == ["large"] and outside.size == 48 * 40 * 4
    assert [value.name for value in model.graph.input] == ["x", "large"]
    stored = {entry.name for entry in model.graph.initializer}
    assert "large" not in stored and {"w", "small"} <= stored
    whole = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    (mapped,) = outside.feeds().values()
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, whole["large"])


def test_an_optimized_model_has_its_large_tensors_again(path: Path, tmp_path: Path) -> None:
    model, outside = read_onnx(path, whole=KEPT)
    done = run_optimize(model, OptimizeOptions(), Log(), outside.feeds())
    assert "BatchNormalization" not in {node.op_type for node in done.model.graph.node}
    outside.put_back({tmp_path / "out.onnx": done.model})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "out.onnx", "out.onnx.data"]
    assert (tmp_path / "out.onnx.data").stat().st_size == outside.size
    written = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in written.graph.input] == ["x"]
    np.testing.assert_allclose(answer(tmp_path / "out.onnx"), answer(path), rtol=1e-4, atol=1e-4)


def test_small_models_are_read_whole(path: Path) -> None:
    model, outside = read_onnx(path)
    assert not outside.tensors and len(model.graph.input) == 1


@pytest.mark.parametrize("target", ["onnxruntime", "openvino,onnxruntime"])
def test_a_package_of_a_model_that_is_not_read_whole(path: Path, tmp_path: Path, target: str) -> None:
    """The large tensor is copied, compared like the others, and is no input and no golden of the package."""
    shapes, asked = ShapeOptions(), ExportOptions(target=target)
    done = run_export(load_source(path), shapes, tmp_path / "package", asked, Log())
    package = done.package
    assert [entry.name for entry in package.manifest.inputs] == ["x"]
    assert set(package.goldens()[0]) == {"x"}
    assert {layer.tensor for layer in done.parity.cases[0].layers} == {"b"}
    package.verify_files()
    with rectexport.load(package.path, backend="onnxruntime") as session:
        np.testing.assert_allclose(session(X), answer(path), rtol=1e-4, atol=1e-4)
    before = (path.parent / "weights.bin").read_bytes()
    assert onnx.load(path, load_external_data=False).graph.initializer[1].name == "large"
    large = numpy_helper.to_array(next(t for t in onnx.load(path).graph.initializer if t.name == "large"))
    assert (package.path / "model.onnx.data").read_bytes() == large.tobytes() and large.tobytes() in before


@pytest.mark.parametrize("option", [{"fp16": True}, {"bf16": True}])
def test_lower_precision_needs_the_whole_model(path: Path, tmp_path: Path, option: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="=True: not for a model with more than 2 GB of weights"):
        run_export(load_source(path), ShapeOptions(), tmp_path / "package", ExportOptions(**option), Log())  # type: ignore[arg-type]
