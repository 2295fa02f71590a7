"""Every form of a border and of a mask: what TensorRT 8.6 takes, equal on both engines, in float16 and in int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.graph.dialect import BORDERS
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, lower, select_passes
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.order import FINISH, PREPARE, RECTIFY
from rectexport.exporter.passes.precision import half
from rectexport.exporter.quantize.calibration import Items
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.exporter.quantize.ran_in_int8 import float_layers, layer_nodes
from rectexport.exporter.tools.engine_report import engine_report
from rectexport.plugins import reference
from tests.export.engines import ENGINES, run_on
from tests.export.helper import build, normal, relative_l2

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


def rectified(axes: int) -> ModelProto:
    """Two rectified convolutions along lines or volumes, the second with a bias inside."""
    sizes, kernel = {1: "40", 3: "5,6,7"}[axes], (3,) * axes
    window = ", ".join(
        f"{name}=[{','.join([value] * count)}]"
        for name, value, count in (
            ("kernel_shape", "3", axes),
            ("strides", "1", axes),
            ("pads", "1", 2 * axes),
            ("dilations", "1", axes),
        )
    )
    rectify = f"rectexport.Rectify{axes}d<{window}, numerator={3**axes}, empty_bias=1>"
    pads = f"pads=[{','.join(['1'] * 2 * axes)}]"
    body = f"c = Conv<{pads}>(x, w) a = {rectify}(c, x, b) r = Relu(a) d = Conv<{pads}>(r, v, e) y = {rectify}(d, r, n)"
    numbers = {"w": normal(4, 2, *kernel), "b": normal(4, seed=1), "v": normal(3, 4, *kernel, seed=2)}
    numbers |= {"e": normal(3, seed=3), "n": np.zeros(3, np.float32)}
    return infer_shapes(build(f"(float[8,2,{sizes}] x) => (float[8,3,{sizes}] y)", body, 18, **numbers))


def circular() -> ModelProto:
    """Two convolutions with circular borders, of enough channels for the engines' 8-bit kernels."""
    pad = "rectexport.BoundaryPad<modes=[1,1], pads=[1,1,1,1]>"
    body = f"p = {pad}(x) c = Conv(p, w, b) r = Relu(c) q = {pad}(r) y = Conv(q, v)"
    weights = {"w": normal(8, 2, 3, 3), "b": normal(8, seed=1), "v": normal(4, 8, 3, 3, seed=2)}
    return infer_shapes(build("(float[8,2,8,9] x) => (float[8,4,8,9] y)", body, 18, **weights))


def layer() -> ModelProto:
    """A masked layer whose mask is made of the input."""
    model = masked(2, "numerator=18, empty_bias=0", "b", False)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 8
    del model.graph.value_info[:]
    return infer_shapes(model)


INT8 = {"lines": (partial(rectified, 1), 2), "volumes": (partial(rectified, 3), 2), "circular": (circular, 2)}
INT8["a mask"] = (layer, 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "layers"), INT8.values(), ids=INT8)
def test_int8(make: Callable[[], ModelProto], layers: int, engine: str, tmp_path: Path) -> None:
    """Each layer runs in 8 bits, and counts of known values stay whole numbers."""
    model = for_target(make(), engine)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    found = Quantizer(model, Items({"x": normal(48, *shape[1:])}, None), (8, 8), Int8(None), Log()).run(engine)
    assert len(found.layers) == layers
    assert all("counts known values" in reason for reason in found.kept.values())
    path = tmp_path / "int8.onnx"
    onnx.save(found.model, path)
    names = layer_nodes(found.model)
    assert len(names) >= layers and float_layers(engine, path, names) == []
    x = normal(*shape, seed=9)
    expected, answer = run_on(engine, model, x), run_on(engine, found.model, x)
    assert relative_l2(expected, answer) <= 0.03


@pytest.mark.parametrize(("make", "layers"), INT8.values(), ids=INT8)
def test_float16(make: Callable[[], ModelProto], layers: int) -> None:
    model = for_target(make(), "portable")
    x = normal(*(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim), seed=9)
    found, _ = half.run(model, [{"x": x}])
    onnx.checker.check_model(found, full_check=True)
    weights = [entry for entry in found.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT16]
    assert len(weights) >= layers
    for engine in ENGINES:
        assert relative_l2(run_on(engine, model, x), run_on(engine, found, x)) <= 2e-3
