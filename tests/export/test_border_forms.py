"""Every form of a border and of a mask, for each target: what TensorRT 8.6 takes, and equal on both engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.graph.dialect import BORDERS
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, lower, select_passes
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.order import FINISH, PREPARE, RECTIFY
from rectexport.exporter.tools.engine_report import engine_report
from rectexport.plugins import reference
from tests.export.engines import ENGINES, run_on
from tests.export.helper import build, normal

WEIGHTS = {"w": normal(3, 2, 3, 3), "b": normal(3, seed=1)}
#: A form, the borders of rows and columns, and whether sizes are open. Forms that an engine alone takes are left out.
CASES = [
    *(("as_written", (border, "circular"), False) for border in BORDERS),
    *(("as_written", (border, "circular"), True) for border in BORDERS),
    *(("strips", (border, "replicate"), False) for border in BORDERS),
    *(("border", (border, "circular"), False) for border in ("circular", "reflect", "replicate", "symmetric")),
    ("chain", ("circular", "circular"), False),
]


def for_target(model: ModelProto, target: str) -> ModelProto:
    """A model with chosen forms as it is written for a target."""
    for entry in select_passes(PassContext(target), stages=(PREPARE, RECTIFY, FINISH)):
        model, _ = entry.run(model)
    assert not model.functions and not any(node.domain for node in model.graph.node)
    return model


def refused(model: ModelProto) -> list[str]:
    """What the table of facts knows against it in TensorRT 8.6."""
    rows = [row for row in engine_report(model) if row.engine == "TensorRT 8.6"]
    return [row.reason for row in rows if row.verdict in ("refused", "wrong")]


def bordered(borders: Sequence[str], open_sizes: bool) -> ModelProto:
    """Two convolutions with a border, so that they may be a chain."""
    shape = "N,2,H,W" if open_sizes else "1,2,64,66"
    modes = [BORDERS.index(border) for border in borders]
    pad = f"rectexport.BoundaryPad<modes=[{modes[0]},{modes[1]}], pads=[1,1,1,1]>"
    body = f"p = {pad}(x) c = Conv(p, w, b) r = Relu(c) q = {pad}(r) y = Conv(q, v)"
    model = build(f"(float[{shape}] x) => (float[{shape}] y)", body, 19, **WEIGHTS, v=normal(2, 3, 3, 3, seed=2))
    return infer_shapes(model)


def expected(x: Any, borders: Sequence[str]) -> Any:
    options: dict[str, Any] = {"pads": (1, 1, 1, 1), "borders": tuple(borders)}
    first = np.maximum(reference.boundary_conv(x, WEIGHTS["w"], WEIGHTS["b"], **options), 0)
    return reference.boundary_conv(first, normal(2, 3, 3, 3, seed=2), None, **options)


@pytest.mark.parametrize(("form", "borders", "open_sizes"), CASES)
def test_a_border_for_tensorrt(form: str, borders: tuple[str, str], open_sizes: bool) -> None:
    lowered, _, decisions = lower(bordered(borders, open_sizes), ForcedForm(form))
    assert form == "as_written" or any(entry.taken == form for entry in decisions)
    written = for_target(lowered, "tensorrt")
    assert refused(written) == []
    for size in ((5, 8), (4, 6)) if open_sizes else ((64, 66),):
        x = normal(1, 2, *size)
        for engine in ENGINES:
            np.testing.assert_allclose(run_on(engine, written, x), expected(x, borders), atol=1e-4)


WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1]"


def masked(channels: int, options: str, given: str, open_sizes: bool) -> ModelProto:
    """A layer that reads a mask of `channels` equal channels or of its own, its bias and its next mask added up."""
    shape = "N,2,H,W" if open_sizes else "2,2,6,7"
    own = "c = Shape(x) e = Expand(m, c)" if channels == 2 else "e = Identity(m)"
    counted = "s = ReduceSum<keepdims=1>(e, axis)" if channels == 2 else "s = Identity(e)"
    body = f"""i = Slice(x, zero, one, second) g = Greater(i, half) m = Cast<to=1>(g) {own} k = Mul(x, e)
      y = Conv<pads=[1,1,1,1]>(k, w) {counted} u = rectexport.MaskedCount<{WINDOW}>(s)
      a = rectexport.MaskedRectify<{options}>(y, u, {given}) n = Clip(u, , cap) z = Add(a, n)"""
    numbers = {"zero": np.array([0]), "one": np.array([1]), "second": np.array([1]), "axis": np.array([1])}
    floats = {"half": np.float32(0.5), "cap": np.float32(1), "none": np.zeros(3, np.float32)}
    return build(f"(float[{shape}] x) => (float[N,3,H,W] z)", body, 18, **WEIGHTS, **numbers, **floats)


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize(
    ("channels", "options", "given"),
    [
        (1, "numerator=9, empty_bias=0", "b"),
        (2, "numerator=18, empty_bias=0", "b"),
        (2, "numerator=1, empty_bias=1", "b"),
        (1, "numerator=9, empty_bias=0", "none"),
    ],
)
@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime", "openvino"])
def test_a_mask_for_each_target(channels: int, options: str, given: str, open_sizes: bool, target: str) -> None:
    written = for_target(masked(channels, options, given, open_sizes), target)
    assert target != "tensorrt" or refused(written) == []
    empty_bias = "empty_bias=1" in options
    for size in ((6, 7), (4, 9)) if open_sizes else ((6, 7),):
        x = normal(2, 2, *size)
        x[1, :, 2:] = 0  # windows without a known pixel
        mask = (x[:, :1] > 0.5).astype(np.float32)
        bias = WEIGHTS["b"] if given == "b" else None
        y, known = reference.masked_conv(x, mask, WEIGHTS["w"], None, pads=(1, 1, 1, 1))
        numerator = int(options.split("numerator=")[1].split(",")[0])
        y = y * (numerator / (9 * channels))
        shift = 0 if bias is None else bias.reshape(1, 3, 1, 1) * (1 if empty_bias else known)
        for engine in ENGINES:
            np.testing.assert_allclose(run_on(engine, written, x), y + shift + known, rtol=1e-4, atol=1e-4)
