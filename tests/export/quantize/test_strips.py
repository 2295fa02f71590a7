"""Strips: exact for every geometry, and refused with a reason elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize import strips
from rectexport.exporter.quantize.channels import ChannelRanges
from rectexport.exporter.quantize.insert import Learned, insert
from rectexport.exporter.quantize.layers import find_layers
from rectexport.exporter.quantize.measuring import model_outputs, snr_db
from rectexport.exporter.quantize.parameters import EIGHT_BIT, U8, parameters_of, quantized_weight
from rectexport.exporter.quantize.placement import BOTH, STRIPS, place
from rectexport.exporter.quantize.rounding import Weight
from tests.export.quantize.nets import CHANNELS, items, rectified_net


def cut(size: int, stride: int, least: int = 0) -> tuple[Any, Any, Any]:
    """The float net, and the same with only its first layer in int8."""
    model = rectified_net(size, stride)
    graph = open_graph(model)
    layer = find_layers(graph)[0][:1]
    placement = place(graph, layer, "onnxruntime", least)
    parameters = {name: parameters_of(-2.0, 8.0, U8) for name in placement.tensors}
    ranges = {name: ChannelRanges(np.full(CHANNELS, -2.0), np.full(CHANNELS, 8.0)) for name in placement.by_channel}
    weights = {"a": Weight(*quantized_weight(layer[0].weight, 0, EIGHT_BIT))}
    return model, insert(model, placement, Learned(parameters, ranges, weights, EIGHT_BIT, {}), ["a"]), placement


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 4, 7, 8])
def test_strips_compute_the_convolution_to_a_step(size: int, stride: int) -> None:
    model, quantized, placement = cut(size, stride)
    onnx.checker.check_model(quantized)
    assert placement.forms == {"a": STRIPS} and set(placement.tensors) == {"x", "a.out"}
    data = items(4, size)
    step = parameters_of(-2.0, 8.0, U8).scale
    both = [_inner(side, data) for side in (model, quantized)]
    # Half a step of the output, and the rounding of the input and the weights through at most 27 products.
    assert np.abs(both[0] - both[1]).max() < 0.5 * step + 2.25 * 27 * (0.5 * step * 0.4 + 0.01)
    assert snr_db([both[0]], [both[1]]) > 25
    assert not any(node.op_type == "Mul" for node in quantized.graph.node)


def _inner(model: Any, data: Any) -> np.ndarray:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.insert(0, onnx.ValueInfoProto(name="a.out"))
    return np.asarray(model_outputs(shown, data, (2, 1))[0], np.float64)


def test_strips_are_nearer_than_a_pair_before_the_multiply() -> None:
    data = items(8, 8)
    found = {}
    for least in (0, 10**6):
        model, quantized, placement = cut(8, 1, least)
        found[placement.forms["a"]] = snr_db([_inner(model, data)], [_inner(quantized, data)])
    assert found[STRIPS] > found[BOTH]


def test_regions_share_the_integers_of_the_weight() -> None:
    _, quantized, _ = cut(8, 1)
    stored = [
        entry
        for entry in quantized.graph.initializer
        if entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) == 4
    ]
    assert len(stored) == 1
    assert sum(node.op_type == "Conv" for node in quantized.graph.node) == 9 + 1


def refusal(change: Any = None, size: int = 8, least: int = 0) -> str | None:
    layer = find_layers(open_graph(rectified_net(size)))[0][0]
    if change is not None:
        change(layer)
    return strips.refusal(layer, least)


def many_regions(layer: Any) -> None:
    layer.scale.inputs[1].values = np.arange(1, 65, dtype=np.float32).reshape(1, 1, 8, 8)


def zero(layer: Any) -> None:
    layer.scale.inputs[1].values = np.zeros((1, 1, 8, 8), np.float32)


def by_channel(layer: Any) -> None:
    layer.scale.inputs[1].values = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1, 1) * np.ones(
        (1, 6, 8, 8), np.float32
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (many_regions, "64 regions"),
        (zero, "wholly inside the padding"),
        (by_channel, "differs between channels"),
        (lambda layer: layer.node.attrs.update(auto_pad="SAME_UPPER"), "automatic"),
        (lambda layer: setattr(layer, "scale", None), "not rectified"),
    ],
)
def test_what_cannot_be_cut_says_why(change: Any, said: str) -> None:
    assert refusal() is None
    assert said in (refusal(change) or "")


def test_small_planes_stay_whole() -> None:
    assert "8 by 8 is small" in (refusal(least=strips.LEAST_PLANE) or "")
    assert refusal(size=28, least=strips.LEAST_PLANE) is None
