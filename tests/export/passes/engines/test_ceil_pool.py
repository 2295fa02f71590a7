"""Pools with ceil_mode are written so that OpenVINO counts their last windows as ONNX does."""

from __future__ import annotations

import itertools

import pytest
from onnx import ModelProto

from rectexport.exporter.passes.engines import ceil_pool
from tests.export.helper import build, check_pass, normal, operators
from tests.export.passes.engines.helper import exact, needed, refused

OPSET = 21
SAME = "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]"
BEYOND = "kernel_shape=[2,2], strides=[2,2], pads=[0,0,1,1]"


def pool(operator: str, attributes: str, dims: str = "2,3,8,8", more: str = "ceil_mode=1") -> ModelProto:
    body = f"y = {operator}<{attributes}, {more}>(x)"
    return build(f"(float[{dims}] x) => (float[a,b,c,d] y)", body, OPSET)


def average(attributes: str, dims: str = "2,3,8,8") -> ModelProto:
    return pool("AveragePool", attributes, dims, "ceil_mode=1, count_include_pad=1")


@pytest.mark.parametrize("dims", ["2,3,8,8", "N,3,H,W"])
def test_average_that_counts_padding(dims: str) -> None:
    rewritten = needed(ceil_pool.run, average(SAME, dims), {"x": normal(2, 3, 8, 8) + 1})
    assert operators(rewritten) == ["Pad", "AveragePool"]


def test_open_sizes_hold_for_every_size() -> None:
    feeds = [{"x": normal(1, 2, *size) + 1} for size in itertools.product((1, 2, 3, 7, 8), (4, 5))]
    exact(ceil_pool.run, average(SAME, "N,2,H,W"), *feeds)


@pytest.mark.parametrize("size", range(3, 12))
@pytest.mark.parametrize(
    "attributes",
    [
        BEYOND,
        "kernel_shape=[3,2], strides=[3,2], pads=[1,0,0,1]",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], dilations=[2,2]",
        "kernel_shape=[2,3], strides=[3,5], pads=[1,2,1,2]",
    ],
)
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_every_size_and_window(operator: str, attributes: str, size: int) -> None:
    dims, x = f"1,2,{size},{size + 1}", normal(1, 2, size, size + 1) - 3
    model = average(attributes, dims) if operator == "AveragePool" else pool(operator, attributes, dims)
    if operator == "AveragePool":
        exact(ceil_pool.run, model, {"x": x})
    else:
        check_pass(ceil_pool.run, model, {"x": x})


def test_maximum_whose_last_window_is_left_out() -> None:
    rewritten = needed(ceil_pool.run, pool("MaxPool", BEYOND), {"x": normal(2, 3, 8, 8) - 3})
    assert operators(rewritten) == ["MaxPool"]


@pytest.mark.parametrize("dims", ["2,3,8,9", "N,3,H,W"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_norm_of_the_last_window(p: int, dims: str) -> None:
    model = pool("LpPool", f"kernel_shape=[3,2], strides=[2,2], p={p}", dims)
    rewritten = needed(ceil_pool.run, model, {"x": normal(2, 3, 8, 9)})
    assert operators(rewritten) == ["LpPool"]


@pytest.mark.parametrize("size", [*itertools.product(range(3, 8), (4, 5))])
def test_norms_at_every_size(size: tuple[int, int]) -> None:
    x = {"x": normal(1, 2, *size)}
    exact(ceil_pool.run, pool("LpPool", "kernel_shape=[3,2], strides=[2,2]", "N,2,H,W"), x)
    exact(ceil_pool.run, pool("LpPool", "kernel_shape=[2,3], strides=[3,4]", f"1,2,{size[0]},{size[1]}"), x)


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_an_open_size_that_decides_is_refused(operator: str) -> None:
    model = average(BEYOND, "N,2,H,8") if operator == "AveragePool" else pool(operator, BEYOND, "N,2,H,8")
    assert "open" in refused(ceil_pool.run, model).refused[0].reason


@pytest.mark.parametrize(
    "model",
    [
        pool("AveragePool", SAME),
        pool("AveragePool", SAME, more="count_include_pad=1"),
        average("kernel_shape=[3,3], strides=[2,2]"),
        pool("MaxPool", SAME),
        pool("LpPool", SAME),
    ],
)
def test_pools_that_openvino_computes_right_stay(model: ModelProto) -> None:
    _, result = check_pass(ceil_pool.run, model, {"x": normal(2, 3, 8, 8)})
    assert not result.fired and not result.refused
