"""Ranges for each channel behind a rectified convolution: exact algebra, and finer than one range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, ValueInfoProto, numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize import placement, quantizer
from rectexport.exporter.quantize.channels import ChannelRanges, has_ranges, ranges_of
from rectexport.exporter.quantize.insert import insert
from rectexport.exporter.quantize.layers import Layer, find_layers
from rectexport.exporter.quantize.measuring import model_outputs, snr_db
from rectexport.exporter.quantize.placement import place
from rectexport.exporter.quantize.quantizer import Quantizer
from tests.export.quantize.nets import CHANNELS, items, rectified_net


def layer() -> Layer:
    return find_layers(open_graph(rectified_net()))[0][0]


def test_what_relu_cuts_off_needs_no_range() -> None:
    first = layer()
    assert first.shift is not None
    t = np.array([-1.0, 1.0, 0.0, -4.0, 0.0, 0.0], np.float32)
    first.shift.inputs[1].values = t.reshape(1, CHANNELS, 1, 1)
    found = ranges_of(first, np.full(CHANNELS, -3.0), np.full(CHANNELS, 1.0))
    largest = 2.25  # r at a corner, where the least of y still reaches what ReLU lets through
    assert found.low == pytest.approx([1 / largest, -1, 0, 4 / largest, 0, 0])
    assert found.high == pytest.approx([1, 1, 1, 4 / largest, 1, 1])  # the fourth is never more than 0 behind ReLU
    assert (found.width > 0).all()


def test_without_relu_every_value_counts() -> None:
    first = replace(layer(), relu=None)
    found = ranges_of(first, np.full(CHANNELS, -3.0), np.full(CHANNELS, 1.0))
    assert (found.low == -3).all() and (found.high == 1).all()


def test_a_computed_map_does_not_fit() -> None:
    assert has_ranges(layer()) and not has_ranges(find_layers(open_graph(rectified_net()))[0][1])


@pytest.mark.parametrize("shifted", [True, False])
def test_without_its_pair_the_form_is_the_form_after(shifted: bool) -> None:
    model = rectified_net() if shifted else without_shift()
    asked = Quantizer(model, items(96), (8, 1), Int8(None), Log())
    layers = find_layers(open_graph(model))[0]
    first = [entry for entry in layers if entry.name == "a"]
    found = []
    for target in ("onnxruntime", "openvino"):
        own = place(open_graph(model), first, target)
        made = insert(model, own, replace(asked._learn(own, layers, 127), means={}), ["a"])
        found.append(a_out(bypassed(made, "a.conv|unit")))
    assert np.abs(found[0] - found[1]).max() < 1e-4 * np.abs(found[1]).max()  # a bias of integers on the one side
    assert np.abs(a_out(made) - a_out(model)).max() > 1e-3  # and there is something to be exact about


def without_shift() -> ModelProto:
    model = rectified_net()
    (add,) = [node for node in model.graph.node if node.name == "rectify_shift.a"]
    (relu,) = [node for node in model.graph.node if node.name == "a.relu"]
    relu.input[0] = add.input[0]
    model.graph.node.remove(add)
    return model


def bypassed(model: ModelProto, name: str) -> ModelProto:
    """The model with the values themselves in place of a pair's."""
    for node in model.graph.node:
        node.input[:] = [name if given == f"{name}.dequantized" else given for given in node.input]
    return model


def a_out(model: ModelProto) -> np.ndarray:
    shown = ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.insert(0, ValueInfoProto(name="a.out"))
    return np.asarray(model_outputs(shown, items(16, seed=5), (8, 1))[0], np.float64)


def test_a_range_for_each_channel_is_finer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel is 30 times as large as the others: with one range for all, they would have 8 steps left."""
    model = rectified_net()
    (weight,) = [entry for entry in model.graph.initializer if entry.name == "first"]
    values = numpy_helper.to_array(weight).copy()
    values[0] *= 30
    weight.CopyFrom(numpy_helper.from_array(values, "first"))
    expected, ratios = a_out(model)[:, 1:], []
    for by_channel in (True, False):
        if not by_channel:
            monkeypatch.setattr(placement, "has_ranges", lambda layer: False)
        asked = Int8(None, keep_float=("b", "head"))
        found = Quantizer(model, items(96), (8, 1), asked, Log()).run("onnxruntime")
        ratios.append(snr_db([expected], [a_out(found.model)[:, 1:]]))
    assert ratios[0] > ratios[1] + 10


def test_the_manifest_has_a_step_for_each_channel() -> None:
    found = ChannelRanges(np.array([0.0, -1.0]), np.array([2.55, 4.1])).as_dict()
    assert found["channels"]["scale"] == pytest.approx([0.01, 0.02]) and found["channels"]["low"] == [0, -1]
    assert found["range"] == pytest.approx([-1, 4.1]) and found["scale"] == pytest.approx(1 / 255)


def test_few_items_leave_room_for_values_that_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = rectified_net(), Int8(None, keep_float=("b", "head"))
    expected, ratios = a_out(model), []
    for reach in (4.5, 0.0):
        monkeypatch.setattr(quantizer, "CHANNEL_REACH", reach)
        found = Quantizer(model, items(2, seed=3), (8, 1), asked, Log()).run("onnxruntime")
        ratios.append(snr_db([expected], [a_out(found.model)]))
    assert ratios[0] > ratios[1] + 1
