"""Where each engine's pairs stand."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
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
        ("onnxruntime", {"x", "a.out", "b.out", "flat"}, "uint8"),
        ("tensorrt", {"x", "a.out", "flat"}, "int8"),
    ],
)
def test_pairs_stand_where_the_engine_wants_them(target: str, tensors: set[str], dtype: str) -> None:
    graph = open_graph(rectified_net())
    found = place(graph, find_layers(graph)[0], target)
    assert set(found.tensors) == tensors and found.dtype == dtype
    assert found.skips == ({"a.out"} if target == "tensorrt" else set())
    assert found.by_channel == (["a.conv"] if target == "onnxruntime" else [])


def test_a_map_computed_from_the_shapes_has_one_range_behind_the_convolution() -> None:
    graph = open_graph(rectified_net())
    layers = find_layers(graph)[0]
    assert layers[0].scale is not None
    layers[0].scale.inputs[1] = gs.Variable("r.computed", np.float32)
    found = place(graph, layers, "onnxruntime")
    assert found.by_channel == [] and "a.conv" in found.tensors and found.forms["a"] == "both"


def test_a_float_addition_reads_floats_except_from_a_convolution_in_int8() -> None:
    """a.out is made in float by a Mul and an Add; b.out is what a convolution in int8 makes."""
    graph = open_graph(rectified_net())
    first, second, _ = find_layers(graph)[0]
    assert place(graph, [first, second], "onnxruntime").in_float == set()  # both sides have pairs
    (addition,) = [node for node in graph.nodes if node.name == "add"]
    addition.inputs[0] = gs.Variable("unquantized", np.float32)
    assert place(graph, [first, second], "onnxruntime").in_float == {("unquantized", "sum"), ("a.out", "sum")}
    addition.inputs[1] = second.out
    assert place(graph, [first, second], "onnxruntime").in_float == {("unquantized", "sum")}


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
