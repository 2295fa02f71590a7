"""Where each engine's pairs stand."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize.layers import find_layers
from rectexport.exporter.quantize.placement import Placement, place
from tests.export.helper import build
from tests.export.quantize.nets import rectified_net

WEIGHT = np.ones((4, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("target", "tensors", "dtype"),
    [
        ("openvino", {"x", "a.out", "flat"}, "uint8"),
        ("onnxruntime", {"x", "a.conv", "a.out", "b.out", "flat"}, "uint8"),
        ("tensorrt", {"x", "a.out", "flat"}, "int8"),
    ],
)
def test_pairs_stand_where_the_engine_wants_them(target: str, tensors: set[str], dtype: str) -> None:
    graph = open_graph(rectified_net())
    found = place(graph, find_layers(graph)[0], target)
    assert set(found.tensors) == tensors and found.dtype == dtype
    assert found.skips == ({"a.out"} if target == "tensorrt" else set())


def test_large_planes_are_cut_into_strips_for_onnx_runtime_alone() -> None:
    graph = open_graph(rectified_net(28))
    layers = find_layers(graph)[0]
    assert place(graph, layers, "onnxruntime").forms["a"] == "strips"
    assert "a.conv" not in place(graph, layers, "onnxruntime").tensors
    assert place(graph, layers, "openvino").forms["a"] == "after"


def placed(body: str, target: str) -> Placement:
    graph = open_graph(
        build("(float[N,4,8,8] x) => (float[N,M,H,W] y)", body, 18, w=WEIGHT, v=np.ones((4, 8, 3, 3), np.float32))
    )
    return place(graph, find_layers(graph)[0], target)


CONCAT = "a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  c = Concat<axis=1>(b, x)  y = Conv(c, v)"


def test_a_concat_has_one_scale_on_tensorrt_alone() -> None:
    found = placed(CONCAT, "tensorrt")
    assert {found.scale_of(name) for name in ("b", "x", "c")} == {"c"} and {"b", "x", "c"} <= set(found.tensors)
    found = placed(CONCAT, "openvino")
    assert found.scale_of("x") == "x" and "b" not in found.tensors


def test_a_pool_keeps_the_scale_of_its_input() -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w)  b = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)  y = Conv(b, w)"
    found = placed(body, "onnxruntime")
    assert found.scale_of("b") == "a"


def test_the_shortcut_of_two_convolutions_is_the_skip() -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w)  s = Conv(x, u)  b = Add(a, s)  y = Conv(b, w)"
    arrays = {"w": WEIGHT, "u": np.ones((4, 4, 1, 1), np.float32)}
    graph = open_graph(build("(float[N,4,8,8] x) => (float[N,M,H,W] y)", body, 18, **arrays))
    assert place(graph, find_layers(graph)[0], "tensorrt").skips == {"s"}


def test_rings_of_scales_end() -> None:
    assert Placement("openvino", scales={"a": "b", "b": "a"}).scale_of("a") in ("a", "b")
