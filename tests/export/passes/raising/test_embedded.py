"""An even kernel embedded in an odd one, found and exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rectexport.exporter.passes.raising import raise_model
from rectexport.plugins import reference
from tests.export.passes.raising.corners import EXTRA, ORDERS, found_attributes


def embedded(weight: np.ndarray, corners, sizes, groups=1, stride=1, bias=None) -> ModelProto:
    """The (k+1) x (k+1) convolution that holds each k x k slice in its channel's corner."""
    kernel = weight.shape[2]
    wide = np.zeros((*weight.shape[:2], kernel + 1, kernel + 1), np.float32)
    owner, per_group = np.repeat(corners, sizes), weight.shape[1]
    for output, index in np.ndindex(*weight.shape[:2]):
        corner = owner[output // (weight.shape[0] // groups) * per_group + index]
        row, column = EXTRA[corner][2], EXTRA[corner][3]
        wide[output, index, row : row + kernel, column : column + kernel] = weight[output, index]
    return conv_model(wide, kernel // 2, groups, stride)


def conv_model(weight: np.ndarray, pad: int, groups: int, stride: int) -> ModelProto:
    attrs = {"group": groups, "pads": [pad] * 4, "strides": [stride] * 2}
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attrs)
    x = helper.make_tensor_value_info("x", 1, ["N", weight.shape[1] * groups, "H", "W"])
    y = helper.make_tensor_value_info("y", 1, [None] * 4)
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([2, 4]),
    order=st.sampled_from(sorted(ORDERS)),
    remainder=st.sampled_from(["first", "last"]),
    share=st.integers(1, 4),
    rest=st.integers(0, 3),
    groups=st.sampled_from([1, 2]),
    stride=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_an_embedded_kernel(kernel, order, remainder, share, rest, groups, stride, height, width):
    channels = (4 * share + rest) * groups
    random = np.random.default_rng(0)
    weight = random.standard_normal((2 * groups, channels // groups, kernel, kernel)).astype(np.float32)
    sizes = reference.group_sizes(channels, remainder)
    model = embedded(weight, ORDERS[order], sizes, groups, stride)
    raised, _ = raise_model(model)
    assert [node.op_type for node in raised.graph.node] == ["SymmetricPad", "Conv"]
    assert found_attributes(raised)["splits"] == tuple(sizes)
    x = random.standard_normal((1, channels, height, width)).astype(np.float32)
    (found,) = ReferenceEvaluator(raised).run(None, {"x": x})
    expected = reference.symmetric_conv2d(x, weight, None, stride, groups, order, remainder)
    # Rounding goes with the size of the terms, and a single output may be a small difference of large ones.
    terms = reference.symmetric_conv2d(abs(x), abs(weight), None, stride, groups, order, remainder)
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(terms)


def test_an_ordinary_kernel_is_not_even(untouched):
    random = np.random.default_rng(0)
    dense = random.standard_normal((4, 8, 3, 3)).astype(np.float32)
    untouched(conv_model(dense, 1, 1, 1))
    untouched(conv_model(np.zeros_like(dense), 1, 1, 1))
    model = embedded(dense[:, :, :2, :2], ("BR", "TL", "BL", "BL"), (2, 2, 2, 2))
    untouched(model)
    off = numpy_helper.to_array(embedded(dense[:, :, :2, :2], ORDERS["wu"], (2, 2, 2, 2)).graph.initializer[0]).copy()
    off[0, 0, 0, 0] = off[0, 0, 2, 2] = 1.0
    untouched(conv_model(off, 1, 1, 1))
