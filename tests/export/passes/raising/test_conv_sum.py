"""An even kernel written as four convolutions that are added up, found and exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.exporter.passes.raising import raise_model
from rectexport.plugins import reference
from tests.export.helper import build, normal
from tests.export.passes.raising.corners import ORDERS, PARTS, corner_pads, expected_attributes, found_attributes

BOTH = ("dynamo-18", "torchscript-17")


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
    assert found_attributes(raised) == expected_attributes(module.sizes, options["kernel"], ORDERS[options["order"]])


SUM = """a, b, c, d = Split<axis = 1>(x, sizes)
  e = Conv<pads = [{0}]>(a, w) f = Conv<pads = [{1}]>(b, w) g = Conv<pads = [{2}]>(c, w) h = Conv<pads = [{3}]>(d, w)
  {last}"""
CORNERS = ("0, 0, 1, 1", "1, 1, 0, 0", "0, 1, 1, 0", "1, 0, 0, 1")


SIGNATURE = "(float[2, 8, 5, 6] x) => (float[N, C, H, W] y)"
ALL = "y = Sum(e, f, g, h)"


def by_hand(parse, corners=CORNERS, last=ALL, sizes=(2, 2, 2, 2), signature=SIGNATURE, change=("", "")):
    """Four convolutions of two channels each, and what adds them up."""
    weight = np.random.default_rng(0).standard_normal((3, 2, 2, 2)).astype(np.float32)
    body = SUM.format(*corners, last=last).replace(*change)
    bias = np.arange(3, dtype=np.float32)
    return parse(body, signature, w=weight, narrow=weight[..., :1], bias=bias, sizes=np.array(sizes))


@pytest.mark.parametrize(
    ("last", "change"),
    [
        (ALL, ("", "")),
        ("s = Add(h, f) t = Add(e, s) y = Add(t, g)", ("", "")),
        (ALL, ("(b, w)", "(b, w, bias)")),
    ],
    ids=["sum", "additions", "bias"],
)
def test_by_hand(last, change, parse, check):
    model = by_hand(parse, last=last, change=change)
    raised = check(model, PARTS)
    assert found_attributes(raised) == expected_attributes((2, 2, 2, 2), 2, ("BR", "TL", "BL", "TR"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"last": "y = Sum(e, f, g, g)"}, "not one Split's outputs"),
        ({"corners": (*CORNERS[:3], CORNERS[0])}, "no symmetric padding"),
        ({"last": "s = Sum(e, f, g, h) r = Relu(h) y = Add(s, r)"}, "h is also used elsewhere"),
        ({"last": "y = Sum(e, f, g)"}, ""),
        ({"last": "y = Sum(e, f, g, h, h)"}, ""),
        ({"change": ("(d, w)", "(d, narrow)")}, "differ in kernel or strides"),
        ({"change": ("(d, w)", "(b, w)")}, "not one Split's outputs"),
        ({"change": ("0, 1, 1, 0]", "0, 1, 1, 0], dilations = [2, 1]")}, "dilated"),
        ({"signature": SIGNATURE.replace("y)", "y, float[N, D, H, W] f)")}, "f is also used elsewhere"),
    ],
)
def test_must_not_fire(options, reason, parse, untouched):
    untouched(by_hand(parse, **options), reason)


def test_convolutions_with_different_numbers_of_channels_are_left_alone():
    """One channel is added to every channel of the others."""
    pads = ("[1, 1, 0, 0]", "[1, 0, 0, 1]", "[0, 1, 1, 0]", "[0, 0, 1, 1]")
    convs = " ".join(f"c{i} = Conv<kernel_shape = [2, 2], pads = {pad}>(g{i}, w{i})" for i, pad in enumerate(pads))
    body = f"g0, g1, g2, g3 = Split<axis = 1>(x, sizes) {convs} a = Add(c0, c1) b = Add(a, c2) y = Add(b, c3)"
    arrays = {f"w{i}": normal(1 if i == 0 else 4, 2, 2, 2, seed=i) for i in range(4)}
    signature = "(float[1, 8, 6, 6] x) => (float[1, 4, 6, 6] y)"
    model = build(signature, body, sizes=np.array([2] * 4), **arrays)
    raised, results = raise_model(model)
    assert raised is model
    assert "the convolutions have different numbers of channels" in [
        entry.reason for result in results for entry in result.refused
    ]
