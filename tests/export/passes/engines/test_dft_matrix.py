"""A Fourier transform is written as a matrix product, which OpenVINO and TensorRT need."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes.engines import dft_matrix
from tests.export.helper import build, normal, operators, relative_l2
from tests.export.passes.engines.helper import engines, exact, needed, refused

BACK = "y = DFT<axis=2, inverse=1, onesided=1>(x, length)"


def transform(axis: int, attributes: str = "", dims: str = "2,4,6,1", opset: int = 20, length: int = 0) -> ModelProto:
    head, kind = f"(float[{dims}] x) => (float[a,b,c,d] y)", f"<{attributes}>" if attributes else ""
    if opset < 20:
        return build(head, f"y = DFT<axis={axis}{', ' if attributes else ''}{attributes}>(x)", opset)
    stored = {"axis": np.array(axis, np.int64), **({"length": np.array(length, np.int64)} if length else {})}
    return build(head, f"y = DFT{kind}(x, {'length' if length else ''}, axis)", opset, **stored)


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("axis", [0, 1, 2, -2])
@pytest.mark.parametrize(
    ("attributes", "parts"), [("", 1), ("", 2), ("inverse=1", 2), ("onesided=1", 1), ("inverse=1", 1)]
)
def test_every_kind(axis: int, attributes: str, parts: int, opset: int) -> None:
    model = transform(axis, attributes, f"2,5,6,{parts}", opset)
    rewritten = exact(dft_matrix.run, model, {"x": normal(2, 5, 6, parts)})
    assert operators(rewritten) == ["Transpose", "Reshape", "MatMul", "Reshape", "Transpose"]


@pytest.mark.parametrize("length", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("attributes", ["", "onesided=1"])
def test_other_lengths(length: int, attributes: str) -> None:
    exact(dft_matrix.run, transform(1, attributes, length=length), {"x": normal(2, 4, 6, 1)})


@pytest.mark.parametrize(("length", "waves"), [(6, 4), (7, 4), (6, 3), (9, 4), (1, 2), (4, 4)])
def test_back_to_real_numbers(length: int, waves: int) -> None:
    """ONNX Runtime is no reference for every length, so NumPy is."""
    x = normal(2, 3, waves, 2)
    stored = {"length": np.array(length, np.int64)}
    model = build(f"(float[2,3,{waves},2] x) => (float[2,3,{length},1] y)", BACK, 18, **stored)
    rewritten, result = dft_matrix.run(infer_shapes(model))
    (got,) = engines.onnxruntime_plain(rewritten, {"x": x})
    wanted = np.fft.irfft(x[..., 0].astype(np.float64) + 1j * x[..., 1], length, axis=2)
    assert result.fired and relative_l2(wanted, got[..., 0]) <= 1e-6


def test_openvino_needs_it() -> None:
    needed(dft_matrix.run, transform(2, "onesided=1", opset=18), {"x": normal(2, 4, 6, 1)})
    needed(dft_matrix.run, transform(2, dims="2,4,6,2"), {"x": normal(2, 4, 6, 2)})


def test_other_axes_may_be_open() -> None:
    needed(dft_matrix.run, transform(2, "onesided=1", "N,C,6,1"), {"x": normal(3, 2, 6, 1)})


def test_a_large_transform() -> None:
    exact(dft_matrix.run, transform(2, "", "1,1,1024,1"), {"x": normal(1, 1, 1024, 1)})


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (transform(2, dims="2,4,H,1"), "open"),
        (transform(2, dims="2,4,1025,1"), "beyond"),
        (transform(2, dims="2,4,6,c"), "complex"),
    ],
)
def test_near_misses_are_refused(model: ModelProto, reason: str) -> None:
    assert reason in refused(dft_matrix.run, model).refused[0].reason
