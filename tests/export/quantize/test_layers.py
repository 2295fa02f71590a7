"""What counts as a layer, what follows it, and why other nodes stay in float."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize.layers import Layer, factor_of, find_layers, shift_of, tensors_between
from tests.export.helper import build
from tests.export.quantize.nets import rectified_net


def test_a_rectified_convolution_is_one_layer() -> None:
    layers, refused = find_layers(open_graph(rectified_net()))
    assert [layer.name for layer in layers] == ["a", "b", "head"] and not refused
    a, b, head = layers
    assert (a.out.name, a.y.name) == ("a.out", "a.conv") and [node.name for node in a.nodes][1] == "rectify_scale.a"
    assert (b.out.name, b.y.name, b.scale) == ("b.out", "b.out", None)
    r, t = factor_of(a), shift_of(a)
    assert r is not None and r.max() == 2.25 and t is not None and t.shape == (6,)
    assert factor_of(b) is None and shift_of(b) is None
    assert not head.convolution and head.axis == 0 and head.bias is not None
    assert a.macs((1, 6, 8, 8)) == 6 * 27 * 64 and head.macs((1, 5)) == 30


def only(body: str, **arrays: np.ndarray) -> tuple[list[Layer], dict[str, str]]:
    signature = "(float[N,4,5,5] x, float[2,4,3,3] given) => (float[N,P,Q,R] y)"
    return find_layers(open_graph(build(signature, body, 18, **arrays)))


ONE_HOT = np.zeros((4, 1, 2, 2), np.float32)
ONE_HOT[:, :, 1, 0] = 1


def test_a_shift_moves_values_and_has_one_scale() -> None:
    (layer,), _ = only("y = Conv<group=4>(x, w)", w=ONE_HOT)
    assert layer.copies
    for other in (ONE_HOT * 2, ONE_HOT + np.roll(ONE_HOT, 1, axis=2)):
        (layer,), _ = only("y = Conv<group=4>(x, w)", w=other.astype(np.float32))
        assert not layer.copies


@pytest.mark.parametrize(
    ("body", "arrays", "said"),
    [
        ("y = Conv(x, given)", {}, "its weight is computed by the graph"),
        ("y = ConvTranspose(x, w)", {"w": np.ones((4, 2, 3, 3), np.float32)}, "transposed convolution"),
        (
            "b = ReduceMax<keepdims=0>(given, axes)  y = Conv(x, w, b)",
            {"w": np.ones((4, 4, 3, 3), np.float32), "axes": np.array([0, 2, 3])},
            "its bias is computed by the graph",
        ),
    ],
)
def test_what_stays_in_float_has_a_reason(body: str, arrays: dict[str, np.ndarray], said: str) -> None:
    layers, refused = only(body, **arrays)
    assert not layers and said in next(iter(refused.values()))


def test_a_convolution_whose_output_others_read_has_no_relu_of_its_own() -> None:
    body = "c = Conv(x, w)  d = Relu(c)  y = Add(c, d)"
    (layer,), _ = only(body, w=np.ones((2, 4, 3, 3), np.float32))
    assert layer.relu is None and layer.out.name == "c"


def test_nodes_that_move_values_are_named() -> None:
    graph = open_graph(
        build("(float[N,4,6,6] x) => (float[N,4,3,3] y)", "y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x)")
    )
    assert [(a.name, b.name) for a, b in tensors_between(graph)] == [("x", "y")]
