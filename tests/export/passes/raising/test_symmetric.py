"""Symmetric padding, spelled out or embedded in an odd kernel, found and exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes.raising import raise_model
from rectexport.plugins import reference

BOTH = ("dynamo-18", "torchscript-17")
ORDERS = reference.SYMMETRIC_ORDERS
EXTRA = {"TL": (1, 1, 0, 0), "TR": (1, 0, 0, 1), "BL": (0, 1, 1, 0), "BR": (0, 0, 1, 1)}


def corner_pads(corner: str, kernel: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right)."""
    top, left, bottom, right = (kernel // 2 - 1 + extra for extra in EXTRA[corner])
    return top, left, bottom, right


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


def expected_attributes(module: Spelled, kernel: int, order: str) -> dict[str, tuple[int, ...]]:
    pads = tuple(pad for corner in ORDERS[order] for pad in corner_pads(corner, kernel))
    return {"splits": tuple(module.sizes), "pads": pads}


def found_attributes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    (node,) = (node for node in model.graph.node if node.op_type == "SymmetricPad")
    return attributes(node)


PARTS = {"SymmetricPad": 1, "Conv": 1, "Pad": 0, "Concat": 0, "Split": 0, "Slice": 0}
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
    raised = check(to_onnx(module, torch.randn(2, options["channels"], 7, 6)), PARTS)
    assert found_attributes(raised) == expected_attributes(module, options["kernel"], options["order"])


@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_dynamic_sizes(to_onnx, check):
    model = to_onnx(Spelled(8, 2, "wu"), torch.randn(2, 8, 7, 6), dynamic=True)
    check(model, PARTS, shapes=[(2, 8, 7, 6), (1, 8, 3, 11)])


@pytest.mark.parametrize("name", ["c2sp", "first gets the rest", "slices", "common pads in the convolution"])
@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_after_a_simplifier(name, to_onnx, simplify, check):
    options = SPELLINGS[name]
    module = Spelled(**options)
    raised = check(simplify(to_onnx(module, torch.randn(2, options["channels"], 7, 6))), {"SymmetricPad": 1})
    assert found_attributes(raised) == expected_attributes(module, options["kernel"], options["order"])


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
    pads = tuple(pad for corner in ORDERS[order] for pad in corner_pads(corner, 2))
    assert found_attributes(raised) == {"splits": (2, 2, 2, 2), "pads": pads}


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
    "padded by reflection": ({"body": BODY.replace("Pad(c", 'Pad<mode = "reflect">(c')}, "not padded by constant"),
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


def test_other_axes(untouched):
    square = "(float[2, 8, 8, 8] x) => (float[N, C, H, W] y)"
    untouched(by_hand(split=2, join=1, signature=square), "not the channels")
    untouched(by_hand(join=0), "not the channels")


def test_a_padded_group_that_is_an_output(untouched):
    signature = SIGNATURE.replace("y)", "y, float[N, D, H, W] g)")
    untouched(by_hand(signature=signature), "g is also used elsewhere")


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


class FourConvs(nn.Module):
    """One convolution a group, each with the pads of its corner, added up in some order."""

    def __init__(self, channels, kernel, order, remainder="first", stride=1, addition=(0, 1, 2, 3)):
        super().__init__()
        self.sizes = list(reference.group_sizes(channels, remainder))
        self.pads = [corner_pads(corner, kernel) for corner in ORDERS[order]]
        self.convs = nn.ModuleList(
            nn.Conv2d(size, 3, kernel, stride, bias=index == 1) for index, size in enumerate(self.sizes)
        )
        self.addition = addition

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(x.split(self.sizes, 1), self.pads, self.convs, strict=True)
        results = [conv(F.pad(part, (p[1], p[3], p[0], p[2]))) for part, p, conv in parts]
        first, second, third, fourth = (results[index] for index in self.addition)
        return (first + second) + (third + fourth) if self.addition[0] else first + second + third + fourth


@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
@pytest.mark.parametrize(
    "options",
    [
        {"channels": 8, "kernel": 2, "order": "wu"},
        {"channels": 9, "kernel": 4, "order": "elnas", "stride": 2, "addition": (3, 1, 0, 2)},
        {"channels": 11, "kernel": 2, "order": "wu_poster", "remainder": "last", "addition": (0, 2, 3, 1)},
    ],
)
def test_four_convolutions(options, to_onnx, check):
    module = FourConvs(**options)
    raised = check(to_onnx(module, torch.randn(2, options["channels"], 7, 6)), {**PARTS, "Add": 0})
    assert found_attributes(raised) == expected_attributes(module, options["kernel"], options["order"])


SUM = """a, b, c, d = Split<axis = 1>(x, sizes)
  e = Conv<pads = [{0}]>(a, w) f = Conv<pads = [{1}]>(b, w) g = Conv<pads = [{2}]>(c, w) h = Conv<pads = [{3}]>(d, w)
  {last}"""
CORNERS = ("0, 0, 1, 1", "1, 1, 0, 0", "0, 1, 1, 0", "1, 0, 0, 1")


@pytest.mark.parametrize(
    ("corners", "last", "reason"),
    [
        (CORNERS, "y = Sum(e, f, g, h)", None),
        (CORNERS, "y = Sum(e, f, g, g)", "not one Split's outputs"),
        ((*CORNERS[:3], CORNERS[0]), "y = Sum(e, f, g, h)", "no symmetric padding"),
        (CORNERS, "s = Sum(e, f, g, h) r = Relu(h) y = Add(s, r)", "h is also used elsewhere"),
    ],
)
def test_four_convolutions_by_hand(corners, last, reason, check, untouched):
    model = by_hand(SUM.format(*corners, last=last))
    weight = np.random.default_rng(0).standard_normal((3, 2, 2, 2)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    if reason is None:
        check(model, PARTS)
    else:
        untouched(model, reason)
