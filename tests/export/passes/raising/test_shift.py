"""Symmetric padding written as a depthwise convolution with a single 1 a channel."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn, randn

from rectexport import export, optimize
from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes.raising import raise_model
from rectexport.models import SymmetricConv2d
from rectexport.plugins import reference

ORDERS = reference.SYMMETRIC_ORDERS
#: The tap that holds the 1, and the padding (top, left, bottom, right) on top of that of the kernel.
TAPS = {"TL": (0, 0), "TR": (0, 1), "BL": (1, 0), "BR": (1, 1)}
EXTRA = {"TL": (1, 1, 0, 0), "TR": (1, 0, 0, 1), "BL": (0, 1, 1, 0), "BR": (0, 0, 1, 1)}


def shift(corners, sizes, pad, **attrs) -> ModelProto:
    weight = np.zeros((sum(sizes), 1, 2, 2), np.float32)
    for channel, corner in enumerate(np.repeat(corners, sizes)):
        weight[channel, 0][TAPS[corner]] = 1
    return depthwise(weight, pad, **attrs)


def depthwise(weight: np.ndarray, pad: int, bias: np.ndarray | None = None, **attrs) -> ModelProto:
    attrs = {"group": len(weight), "pads": [pad] * 4, **attrs}
    inputs = ["x", "w"] if bias is None else ["x", "w", "b"]
    stored = [numpy_helper.from_array(weight, "w"), *([] if bias is None else [numpy_helper.from_array(bias, "b")])]
    node = helper.make_node("Conv", inputs, ["y"], **attrs)
    x = helper.make_tensor_value_info("x", 1, ["N", attrs["group"] * weight.shape[1], "H", "W"])
    graph = helper.make_graph([node], "g", [x], [helper.make_tensor_value_info("y", 1, [None] * 4)], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(4, 17),
    kernel=st.sampled_from([2, 4]),
    corners=st.permutations(list(TAPS)),
    remainder=st.sampled_from(["first", "last"]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_any_order_channels_and_size(channels, kernel, corners, remainder, height, width):
    sizes = reference.group_sizes(channels, remainder)
    model = shift(corners, sizes, kernel // 2)
    raised, _ = raise_model(model)
    (node,) = raised.graph.node
    assert node.op_type == "SymmetricPad"
    base = kernel // 2 - 1
    assert attributes(node) == {
        "splits": tuple(sizes),
        "pads": tuple(base + extra for corner in corners for extra in EXTRA[corner]),
    }
    feeds = {"x": np.random.default_rng(0).standard_normal((2, channels, height, width)).astype(np.float32)}
    (expected,), (found,) = (ReferenceEvaluator(entry).run(None, feeds) for entry in (model, raised))
    np.testing.assert_array_equal(found, expected)


WU, FOURS = ORDERS["wu"], (2, 2, 2, 2)


@pytest.mark.parametrize(
    "model",
    [
        shift(WU, FOURS, 0),
        shift(WU, FOURS, 3),
        shift(WU, FOURS, 1, strides=[2, 2]),
        shift(WU, FOURS, 1, dilations=[2, 2]),
        shift(WU, (1, 3, 2, 2), 1),
        shift(("TL", "BR", "TL", "BR"), FOURS, 1),
        shift(WU[:2], (4, 4), 1),
        depthwise(np.full((8, 1, 2, 2), 0.25, np.float32), 1),
        depthwise(np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]].reshape(8, 1, 2, 2) * 2, 1),
        depthwise(np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]].reshape(4, 2, 2, 2), 1),
        depthwise(np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]].reshape(8, 1, 2, 2), 1, np.ones(8, np.float32)),
    ],
    ids=[
        "no pads",
        "pads 3",
        "stride",
        "dilation",
        "sizes",
        "corners",
        "two groups",
        "mean",
        "twice",
        "grouped",
        "bias",
    ],
)
def test_near_misses(model, untouched):
    untouched(model)


@pytest.mark.parametrize("kernel", [2, 4])
def test_what_is_lowered_for_one_engine_is_raised_for_another(kernel, tmp_path, check):
    """The shift of an exported net becomes the Pads of the portable one again, and neither changes the outputs."""
    from rectexport.exporter.passes.lowering import symmetric

    module = nn.Sequential(SymmetricConv2d(8, 8, kernel), nn.ReLU()).eval()
    export(module, (randn(1, 8, 9, 7),), tmp_path / "out", target="portable")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    raised, _ = raise_model(model)
    shifted, decisions = lowered_by(symmetric, "shift", raised)
    assert decisions == 1
    assert sum(node.op_type == "Conv" for node in shifted.graph.node) == 2
    check(shifted, {"SymmetricPad": 1, "Conv": 1})
    portable, _ = optimize(shifted, "portable")
    assert [node.op_type for node in portable.graph.node].count("Pad") == 4


def lowered_by(operator, name: str, model: ModelProto) -> tuple[ModelProto, int]:
    """Every site in one form, whatever it costs."""
    from rectexport.exporter.graph.surgeon import close_graph, open_graph

    graph = open_graph(model)
    (form,) = (entry for entry in operator.OPERATOR.forms if entry.name == name)
    sites = list(operator.find(graph))
    for site in sites:
        form.apply(graph, site)
    return close_graph(graph, model), len(sites)
