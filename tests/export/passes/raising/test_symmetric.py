"""Symmetric padding spelled out as four Pads, found and exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from rectexport.exporter.passes.raising import raise_model, symmetric
from rectexport.plugins import reference
from tests.export.passes.raising.corners import ORDERS, PARTS, corner_pads, expected_attributes, found_attributes

BOTH = ("dynamo-18", "torchscript-17")


class Spelled(nn.Module):
    """Split or slices, four pads, concat, convolution; `folded` leaves the common padding to the convolution."""

    def __init__(self, channels, kernel, order, remainder="first", slices=False, groups=1, stride=1, folded=False):
        super().__init__()
        common = kernel // 2 - 1 if folded else 0
        self.sizes = list(reference.group_sizes(channels, remainder))
        self.pads = [[pad - common for pad in corner_pads(corner, kernel)] for corner in ORDERS[order]]
        self.slices = slices
        self.conv = nn.Conv2d(channels, 2 * groups, kernel, stride, common, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.slices:
            ends = list(itertools.accumulate(self.sizes))
            parts = [x[:, end - size : end] for size, end in zip(self.sizes, ends, strict=True)]
        else:
            parts = x.split(self.sizes, 1)
        padded = [F.pad(part, (p[1], p[3], p[0], p[2])) for part, p in zip(parts, self.pads, strict=True)]
        return self.conv(torch.cat(padded, 1))


SPELLINGS = {
    "c2sp": {"channels": 8, "kernel": 2, "order": "wu"},
    "c4sp": {"channels": 8, "kernel": 4, "order": "wu_poster"},
    "first gets the rest": {"channels": 10, "kernel": 2, "order": "elnas"},
    "last gets the rest": {"channels": 11, "kernel": 2, "order": "symmetricpad2d", "remainder": "last"},
    "slices": {"channels": 9, "kernel": 2, "order": "wu", "slices": True},
    "groups and stride": {"channels": 12, "kernel": 4, "order": "wu", "groups": 2, "stride": 2},
    "common pads in the convolution": {"channels": 8, "kernel": 4, "order": "wu", "folded": True},
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_from_torch(name, to_onnx, check):
    options = SPELLINGS[name]
    module = Spelled(**options)
    raised = check(to_onnx(module, torch.randn(2, options["channels"], 7, 6), case=name), PARTS)
    assert found_attributes(raised) == expected_attributes(module.sizes, options["kernel"], ORDERS[options["order"]])


@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_dynamic_sizes(to_onnx, check):
    model = to_onnx(Spelled(8, 2, "wu"), torch.randn(2, 8, 7, 6), dynamic=True)
    check(model, PARTS, shapes=[(2, 8, 7, 6), (1, 8, 3, 11)])


@pytest.mark.parametrize("name", ["c2sp", "first gets the rest", "slices", "common pads in the convolution"])
@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_after_a_simplifier(name, to_onnx, simplify, check):
    options = SPELLINGS[name]
    module = Spelled(**options)
    model = simplify(to_onnx(module, torch.randn(2, options["channels"], 7, 6), case=name))
    raised = check(model, {"SymmetricPad": 1})
    assert found_attributes(raised) == expected_attributes(module.sizes, options["kernel"], ORDERS[options["order"]])


BODY = """a, b, c, d = Split<axis = {split}>(x, sizes)
  e = Pad(a, p0) f = Pad(b, p1) g = Pad(c, p2) h = Pad(d, p3)
  y = Concat<axis = {join}>({parts})"""
SIGNATURE = "(float[2, 8, 5, 6] x) => (float[N, C, H, W] y)"


def by_hand(body=BODY, corners=("BR", "TL", "BL", "TR"), sizes=(2, 2, 2, 2), signature=SIGNATURE, opset=18, **choices):
    options = {"split": 1, "join": 1, "parts": "e, f, g, h", **choices}
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    model = parser.parse_model(f"{header} g {signature} {{ {body.format(**options)} }}")
    arrays = {"sizes": sizes, "axes": [2, 3], "one": [1.0]}
    for index, corner in enumerate(corners):
        top, left, bottom, right = corner_pads(corner, 2)
        arrays[f"p{index}"] = [0, 0, top, left, 0, 0, bottom, right]
        arrays[f"s{index}"] = [top, left, bottom, right]
    for name, values in arrays.items():
        array = np.array(values, np.float32 if name == "one" else np.int64)
        if name == "one":
            array = array.reshape(())
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("order", ORDERS)
def test_each_order(order, check):
    raised = check(by_hand(corners=ORDERS[order]), {"SymmetricPad": 1, "Pad": 0})
    assert found_attributes(raised) == expected_attributes((2, 2, 2, 2), 2, ORDERS[order])


def test_pads_with_axes(check):
    body = BODY.replace("p0", "s0,,axes").replace("p1", "s1,,axes").replace("p2", "s2,,axes").replace("p3", "s3,,axes")
    check(by_hand(body), {"SymmetricPad": 1, "Pad": 0})


OLD = """a, b, c, d = Split<axis = 1, split = [2, 2, 2, 2]>(x)
  e = Pad<pads = [0, 0, 0, 0, 0, 0, 1, 1]>(a) f = Pad<pads = [0, 0, 1, 1, 0, 0, 0, 0]>(b)
  g = Pad<pads = [0, 0, 0, 1, 0, 0, 1, 0]>(c) h = Pad<pads = [0, 0, 1, 0, 0, 0, 0, 1]>(d)
  y = Concat<axis = 1>(e, f, g, h)"""


def test_attributes_of_opset_10(check):
    model = parser.parse_model(f'<ir_version: 5, opset_import: ["": 10]> g {SIGNATURE} {{ {OLD} }}')
    check(model, {"SymmetricPad": 1, "Pad": 0, "Split": 0})


TWICE = "z = Concat<axis = 1>({{parts}}) r = Relu({}) w = Flatten(r) v = ReduceMax(w) y = Add(z, v)"
NEAR_MISSES = {
    "a corner twice": ({"corners": ("BR", "TL", "BL", "BL")}, "do not go to four corners"),
    "an even pad": ({"body": BODY.replace("p3", "p0")}, "do not go to four corners"),
    "joined in another order": ({"parts": "f, e, g, h"}, "not one Split's outputs in order"),
    "sizes of no division": ({"sizes": (1, 3, 2, 2)}, "no division of 8 by four"),
    "padded by ones": ({"body": BODY.replace("p2", "p2, one")}, "not padded by constant zeros"),
    "a group used twice": (
        {"body": BODY.replace("y = ", "").split("Concat")[0] + TWICE.format("a").format(parts="e, f, g, h")},
        "a is also used elsewhere",
    ),
    "a padded group used twice": (
        {"body": BODY.replace("y = ", "").split("Concat")[0] + TWICE.format("h").format(parts="e, f, g, h")},
        "h is also used elsewhere",
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_must_not_fire(name, untouched):
    options, reason = NEAR_MISSES[name]
    untouched(by_hand(**options), reason)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_padded_with_values(mode, check):
    """One group of four has another border: all stay what they are, and that group is raised as a border alone."""
    opset = 19 if mode == "wrap" else 18
    model = by_hand(body=BODY.replace("Pad(c", f'Pad<mode = "{mode}">(c'), opset=opset)
    check(model, {"SymmetricPad": 0, "BoundaryPad": 1, "Pad": 3, "Split": 1, "Concat": 1})
    alone, result = symmetric.run(model)
    assert alone is model and "not padded by constant zeros" in result.refused[0].reason


def test_other_axes(untouched):
    square = "(float[2, 8, 8, 8] x) => (float[N, C, H, W] y)"
    untouched(by_hand(split=2, join=1, signature=square), "not the channels")
    untouched(by_hand(join=0), "not the channels")


def test_a_padded_group_that_is_an_output(untouched):
    signature = SIGNATURE.replace("y)", "y, float[N, D, H, W] g)")
    untouched(by_hand(signature=signature), "g is also used elsewhere")


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(4, 17), kernel=st.sampled_from([2, 4]), data=st.data())
def test_any_channels_and_size(channels, kernel, data):
    remainder = data.draw(st.sampled_from(["first", "last"]))
    corners = data.draw(st.permutations(["TL", "TR", "BL", "BR"]))
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    sizes = reference.group_sizes(channels, remainder)
    nodes = [helper.make_node("Split", ["x", "s"], list("abcd"), axis=1)]
    stored = [numpy_helper.from_array(np.array(sizes), "s")]
    for name, corner in zip("abcd", corners, strict=True):
        top, left, bottom, right = corner_pads(corner, kernel)
        stored.append(numpy_helper.from_array(np.array([0, 0, top, left, 0, 0, bottom, right]), f"{name}p"))
        nodes.append(helper.make_node("Pad", [name, f"{name}p"], [f"{name}q"]))
    nodes.append(helper.make_node("Concat", [f"{name}q" for name in "abcd"], ["y"], axis=1))
    x = helper.make_tensor_value_info("x", 1, ["N", channels, "H", "W"])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("y", 1, [None] * 4)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    raised, _ = raise_model(model)
    assert [node.op_type for node in raised.graph.node] == ["SymmetricPad"]
    feeds = {"x": np.random.default_rng(0).standard_normal((1, channels, height, width)).astype(np.float32)}
    (expected,), (found,) = (ReferenceEvaluator(entry).run(None, feeds) for entry in (model, raised))
    np.testing.assert_array_equal(found, expected)
