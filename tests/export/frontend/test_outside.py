"""Large weights stay in their files while a model is optimized or examined, and come out as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import OptimizeOptions
from rectexport.exporter.frontend import onnx_file
from rectexport.exporter.frontend.onnx_file import read_large, read_onnx
from rectexport.exporter.optimize import run_optimize
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from tests.export.helper import build, normal

BODY = """a = Conv<pads=[1,1,1,1]>(x, w)
 b = BatchNormalization(a, s, t, m, v)
 c = Flatten(b)
 d = Gemm(c, large)
 y = Gemm(d, small)"""
X = normal(1, 2, 4, 4)
#: Bytes that may be read: all but the largest tensor.
KEPT = 4000


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
    model, outside = read_large(path, kept=KEPT)
    assert list(outside.tensors) == ["large"] and outside.size == 48 * 40 * 4
    assert [value.name for value in model.graph.input] == ["x", "large"]
    stored = {entry.name for entry in model.graph.initializer}
    assert "large" not in stored and {"w", "small"} <= stored
    whole = {entry.name: numpy_helper.to_array(entry) for entry in read_onnx(path).graph.initializer}
    (mapped,) = outside.feeds().values()
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, whole["large"])


def test_an_optimized_model_has_its_large_tensors_again(path: Path, tmp_path: Path) -> None:
    model, outside = read_large(path, kept=KEPT)
    done = run_optimize(model, OptimizeOptions(), Log(), outside.feeds())
    assert "BatchNormalization" not in {node.op_type for node in done.model.graph.node}
    outside.put_back(done.model, tmp_path / "out.onnx")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "out.onnx", "out.onnx.data"]
    assert (tmp_path / "out.onnx.data").stat().st_size == outside.size
    written = read_onnx(tmp_path / "out.onnx")
    assert [value.name for value in written.graph.input] == ["x"]
    np.testing.assert_allclose(answer(tmp_path / "out.onnx"), answer(path), rtol=1e-4, atol=1e-4)


def test_small_models_are_read_whole(path: Path) -> None:
    model, outside = read_large(path)
    assert not outside.tensors and len(model.graph.input) == 1


def test_what_needs_the_whole_model_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", KEPT)
    with pytest.raises(
        BadInput, match=r"more than 2 GB of weights, .* in large tensors; rectexport optimize and doctor"
    ):
        read_onnx(path)
