"""Masked partial convolutions: counts written once, equal channels carried as one, masks of ones folded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import batch_norm
from rectexport.exporter.passes.masks import counts, narrow, ones
from rectexport.plugins import reference
from tests.export.helper import build, check_pass, normal, outputs

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1]"
COUNT = f"rectexport.MaskedCount<{WINDOW}>"
RECTIFY = "rectexport.MaskedRectify<numerator=9, empty_bias=0>"
LAYER = f"k = Mul(x, m) y = Conv<pads=[1,1,1,1]>(k, w) u = {COUNT}(m) z = {RECTIFY}(y, u, b)"
WEIGHTS = {"w": normal(3, 2, 3, 3), "b": normal(3, seed=1)}
ONE = np.array(1, np.float32)


def feeds(channels: int = 1, sizes: Any = ((5, 6), (7, 4))) -> list[dict[str, Any]]:
    drawn = np.random.default_rng(0)
    return [
        {"x": normal(2, 2, *size), "m": (drawn.random((2, channels, *size)) < share).astype(np.float32)}
        for size, share in zip((*sizes, *sizes), (0.1, 0.5, 0, 1), strict=True)
    ]


def free(body: str, channels: int = 1, **more: Any) -> ModelProto:
    return build(
        f"(float[N,2,H,W] x, float[N,{channels},H,W] m) => (float[N,3,H,W] z)", body, 18, **{**WEIGHTS, **more}
    )


def kinds(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_counts_are_written_in_standard_operators() -> None:
    written, _ = check_pass(counts.run, free(LAYER), *feeds())
    assert not any(node.domain for node in written.graph.node)
    for feed in feeds():
        expected, _ = reference.masked_conv(feed["x"], feed["m"], WEIGHTS["w"], WEIGHTS["b"], pads=(1, 1, 1, 1))
        (z,) = outputs(written, feed)
        np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-5)


def test_a_shared_mask_is_counted_once_and_so_is_what_follows() -> None:
    """Two branches, each with a layer on the mask and one on the next mask."""

    def branch(i: int) -> str:
        return f"""k{i} = Mul(x, m) y{i} = Conv<pads=[1,1,1,1]>(k{i}, w) u{i} = {COUNT}(m)
          a{i} = {RECTIFY}(y{i}, u{i}, b) n{i} = Clip(u{i}, , one) l{i} = Mul(a{i}, n{i})
          v{i} = Conv<pads=[1,1,1,1]>(l{i}, w2) t{i} = {COUNT}(n{i}) r{i} = {RECTIFY}(v{i}, t{i}, b)"""

    model = free(f"{branch(1)} {branch(2)} z = Add(r1, r2)", one=ONE, w2=normal(3, 3, 3, 3, seed=5))
    written, _ = check_pass(counts.run, model, *feeds())
    assert kinds(written)["Conv"] == 4 + 2 and kinds(written)["Div"] == 2 and kinds(written)["Clip"] == 1


def test_masks_of_other_windows_are_counted_apart() -> None:
    wide = COUNT.replace("kernel_shape=[3,3]", "kernel_shape=[5,5]").replace("[1,1,1,1]", "[2,2,2,2]")
    model = free(f"{LAYER.replace('z =', 'a =')} t = {wide}(m) c = {RECTIFY}(y, t, b) z = Add(a, c)")
    written, _ = check_pass(counts.run, model, *feeds())
    assert kinds(written)["Conv"] == 3


MANY = f"""c = Shape(x) e = Expand(m, c) k = Mul(x, e) y = Conv<pads=[1,1,1,1]>(k, w)
  s = ReduceSum<keepdims=1>(e, axis) u = {COUNT}(s) z = {RECTIFY}(y, u, b)"""
AXIS = np.array([1])


def with_shapes(model: ModelProto, **shapes: list[Any]) -> ModelProto:
    for name, shape in shapes.items():
        kept = [value for value in model.graph.value_info if value.name != name]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*kept, helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)])
    return model


def test_equal_channels_are_carried_as_one() -> None:
    model = with_shapes(free(MANY, axis=AXIS), e=["N", 2, "H", "W"])
    written, result = check_pass(narrow.run, model, *feeds())
    assert result.fired and not {"Expand", "ReduceSum"} & set(kinds(written))


def test_channels_that_differ_stay() -> None:
    body = f"{LAYER.replace(f'{COUNT}(m)', f'{COUNT}(s)')}".replace("u =", "s = ReduceSum<keepdims=1>(m, axis) u =")
    model = free(body, 2, axis=AXIS)
    written, result = check_pass(narrow.run, model, *feeds(2))
    assert not result.fired and "not known to be equal" in result.refused[0].reason
    assert kinds(written)["ReduceSum"] == 1


def test_joined_masks_multiply_the_joined_features_one_by_one() -> None:
    body = f"""c = Shape(x) e = Expand(m, c) i = Concat<axis=1>(x, x2) j = Concat<axis=1>(e, n) k = Mul(i, j)
      y = Conv<pads=[1,1,1,1]>(k, w) s = ReduceSum<keepdims=1>(j, axis) u = {COUNT}(s)
      z = rectexport.MaskedRectify<numerator=27, empty_bias=0>(y, u, b)"""
    signature = "(float[N,2,H,W] x, float[N,1,H,W] m, float[N,1,H,W] x2, float[N,1,H,W] n) => (float[N,3,H,W] z)"
    model = build(signature, body, 18, w=normal(3, 3, 3, 3), b=WEIGHTS["b"], axis=AXIS)
    model = with_shapes(model, e=["N", 2, "H", "W"], i=["N", 3, "H", "W"], j=["N", 3, "H", "W"])
    second = [{"x2": feed["x"][:, :1], "n": 1 - feed["m"]} for feed in feeds()]
    written, result = check_pass(narrow.run, model, *(feed | more for feed, more in zip(feeds(), second, strict=True)))
    assert result.fired and kinds(written)["Concat"] == 1 and "Expand" not in kinds(written)


@pytest.mark.parametrize("dynamic", [False, True])
def test_masks_of_ones_fold_to_rectification(dynamic: bool) -> None:
    """Two layers: the second reads the first one's next mask."""
    size, shape = ("H,W", "c = Shape(x) m = Expand(one, q)") if dynamic else ("5,6", "m = Identity(ones)")
    shape = shape.replace(
        "m = ", "d = Shape<start=2>(x) e = Shape<start=0, end=1>(x) q = Concat<axis=0>(e, ch, d) m = "
    )
    body = f"""{shape} {LAYER.replace("z =", "a =")} n = Clip(u, , cap) l = Mul(a, n) v = Conv<pads=[1,1,1,1]>(l, w2)
      t = {COUNT}(n) z = {RECTIFY}(v, t, b)"""
    extra = {"one": np.ones((1, 1, 1, 1), np.float32), "ones": np.ones((2, 1, 5, 6), np.float32), "cap": ONE}
    extra |= {"w2": normal(3, 3, 3, 3, seed=7), "ch": AXIS}
    batch = "N" if dynamic else "2"
    model = build(f"(float[{batch},2,{size}] x) => (float[{batch},3,{size}] z)", body, 18, **WEIGHTS, **extra)
    x = {"x": normal(2, 2, 5, 6)}
    written, result = check_pass(ones.run, infer_shapes(model), x)
    assert len(result.fired) == 2 and not result.refused
    assert kinds(written)["Rectify"] == 2 and "MaskedRectify" not in kinds(written)
    assert dynamic or not {"MaskedCount", "Mul"} & set(kinds(written))
    window = {"pads": (1, 1, 1, 1), "empty": "zero"}
    first = reference.rectified_conv2d(x["x"], WEIGHTS["w"], WEIGHTS["b"], **window)
    expected = reference.rectified_conv2d(first, extra["w2"], WEIGHTS["b"], **window)
    np.testing.assert_allclose(outputs(written, x)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mask", "fold"), [(1.0, True), (0.0, False)])
def test_only_masks_of_ones_fold(mask: float, fold: bool) -> None:
    model = build(
        "(float[2,2,5,6] x) => (float[2,3,5,6] z)", LAYER, 18, **WEIGHTS, m=np.full((2, 1, 5, 6), mask, np.float32)
    )
    _, result = check_pass(ones.run, model, {"x": normal(2, 2, 5, 6)})
    assert bool(result.fired) == fold
    nearly = np.ones((2, 1, 5, 6), np.float32)
    nearly[1, 0, 4, 5] = 0
    model = build("(float[2,2,5,6] x) => (float[2,3,5,6] z)", LAYER, 18, **WEIGHTS, m=nearly)
    assert not check_pass(ones.run, model, {"x": normal(2, 2, 5, 6)})[1].fired


@pytest.mark.parametrize("biased", [False, True])
def test_batch_norm_crosses_a_mask_where_nothing_else_is_added(biased: bool) -> None:
    body = f"{LAYER.replace('z =', 'a =')} z = BatchNormalization(a, g, h, i, j)"
    names = dict(zip("ghij", (normal(3), normal(3, seed=2), normal(3, seed=3), np.abs(normal(3, seed=4))), strict=True))
    model = free(body, b=WEIGHTS["b"] * np.float32(biased), **names)
    _, result = check_pass(batch_norm.run, model, *feeds())
    assert bool(result.fired) != biased and bool(result.refused) == biased
