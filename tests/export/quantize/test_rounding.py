"""Rounding weights by what their inputs are: less error than the nearest integers, and never far from the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.quantize import rounding
from rectexport.exporter.quantize.layers import Layer, find_layers
from rectexport.exporter.quantize.rounding import round_filters, round_weights
from tests.export.quantize.nets import items, rectified_net


def correlated(size: int, seed: int = 0) -> np.ndarray:
    """A second moment of inputs that are far from independent. [size, size]."""
    inputs = np.random.default_rng(seed).normal(size=(200, 4)) @ np.random.default_rng(1).normal(size=(4, size))
    inputs = inputs + 0.3 * np.random.default_rng(2).normal(size=inputs.shape)
    return inputs.T @ inputs / len(inputs)


def error(filters: np.ndarray, stored: np.ndarray, moment: np.ndarray) -> float:
    off = filters - stored
    return float(np.einsum("oi,ij,oj->", off, moment, off))


@pytest.mark.parametrize("size", [9, 70, 200])
def test_outputs_change_less_than_with_the_nearest_integers(size: int) -> None:
    """70 and 200 weights take more than one block."""
    filters = np.random.default_rng(3).normal(0, 20, (12, size))
    moment = correlated(size)
    stored = round_filters(filters, moment, 127)
    assert stored.dtype == np.int8
    assert error(filters, stored, moment) < 0.5 * error(filters, np.clip(np.rint(filters), -127, 127), moment)


def test_independent_inputs_give_the_nearest_integers() -> None:
    filters = np.random.default_rng(3).normal(0, 20, (4, 30))
    assert (round_filters(filters, np.diag(np.arange(1.0, 31)), 127) == np.rint(filters)).all()


def test_integers_stay_within_the_bound_and_inputs_of_nothing_do_no_harm() -> None:
    filters = np.random.default_rng(3).normal(0, 60, (4, 30))
    assert np.abs(round_filters(filters, correlated(30), 63)).max() == 63
    assert (round_filters(filters, np.zeros((30, 30)), 63) == np.clip(np.rint(filters), -63, 63)).all()


def node(op: str, weight: np.ndarray, **attributes: Any) -> Layer:
    x, y = gs.Variable("x", np.float32), gs.Variable("y", np.float32)
    return Layer(gs.Node(op, "n", attributes, [x, gs.Constant("w", weight)], [y]), weight, None, 0)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((6, 4, 3, 3), {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
        ((6, 4, 3, 2), {"pads": [2, 1, 2, 1], "dilations": [2, 1], "strides": [1, 2]}),
        ((6, 2, 3, 3), {"group": 2}),
        ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    ],
)
def test_filters_are_seen_with_the_inputs_that_the_convolution_reads(shape: Any, attributes: Any) -> None:
    import torch
    from torch.nn import functional

    generator = np.random.default_rng(4)
    weight, x = generator.normal(size=shape).astype(np.float32), generator.normal(size=(2, 4, 7, 6)).astype(np.float32)
    read = rounding._filter_inputs(node("Conv", weight, **attributes), x, 10**6, np.random.default_rng(0))
    groups = attributes.get("group", 1)
    parts = zip(read, np.split(weight, groups), strict=True)
    mine = np.concatenate([own @ part.reshape(len(part), -1).T for own, part in parts], axis=1)
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    padded = functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    y = functional.conv2d(
        padded,
        torch.from_numpy(weight),
        stride=attributes.get("strides", 1),
        dilation=attributes.get("dilations", 1),
        groups=groups,
    )
    places = y.permute(0, 2, 3, 1).reshape(-1, len(weight)).numpy()
    order = np.random.default_rng(0).permutation(len(places))
    assert np.abs(mine - places[order]).max() < 1e-4


def test_the_border_counts_as_much_as_r_scales_it() -> None:
    layer = find_layers(open_graph(rectified_net()))[0][0]
    ones = np.ones((1, 3, 8, 8), np.float32)
    read = rounding._filter_inputs(layer, ones, 10**6, np.random.default_rng(0))
    assert sorted(set(np.round(read.sum(axis=2).ravel(), 3))) == [27.0]  # r * values in the window, at every place


def test_large_filters_and_automatic_padding_are_rounded_to_the_nearest() -> None:
    model, data = rectified_net(), items(32)
    layers = find_layers(open_graph(model))[0]
    found = round_weights(model, layers, data, (8, 1), 127, lambda *_: None)
    nearest = round_weights(model, layers, data, (8, 1), 127, lambda *_: None, most=30)
    differ = {name for name in found if (found[name].stored != nearest[name].stored).any()}
    assert differ == {"b"}  # 54 values; a has 27 and the head 6
    layers[0].node.attrs["auto_pad"] = "SAME_UPPER"
    assert "a" not in rounding._moments(model, layers, data, (8, 1), rounding.MOST)


def test_moments_that_do_not_fit_into_memory_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = rectified_net(), items(32)
    layers = find_layers(open_graph(model))[0]
    together = rounding._parts(layers, rounding.MOST)
    monkeypatch.setattr(rounding, "_MEMORY", 1.0)
    assert [len(part) for part in together] == [3] and [
        len(part) for part in rounding._parts(layers, rounding.MOST)
    ] == [1, 1, 1]
    seen: list[str] = []
    found = round_weights(model, layers, data, (8, 1), 127, lambda done, total, line: seen.append(f"{done}/{total}"))
    assert set(found) == {"a", "b", "head"} and seen == ["0/3", "1/3", "2/3"]
