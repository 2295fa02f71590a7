"""Identities, casts that change nothing and explicit padding are taken out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes.raising import tidy
from tests.export.helper import build, check_pass, normal, operators

SIGNATURE = "(float[1, 2, 5, 6] x) => (float[N, C, H, W] y)"
FEED = {"x": normal(1, 2, 5, 6)}
ARRAYS = {
    "w": normal(3, 2, 3, 3),
    "wide": normal(3, 3, 3, 3),
    "p": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
    "hw": np.array([1, 2, 0, 1]),
    "axes": np.array([2, 3]),
    "channels": np.array([0, 1, 1, 2, 0, 0, 0, 1]),
    "negative": np.array([0, 0, -1, 0, 0, 0, 0, 0]),
    "one": np.array(1, np.float32),
}


def tidied(body):
    """The body after the pass, and what the pass reports."""
    used = set(re.findall(r"\w+", body)) & set(ARRAYS)
    return check_pass(tidy.run, build(SIGNATURE, body, **{name: ARRAYS[name] for name in used}), FEED)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Identity(x) y = Relu(a)", ["Relu"]),
        ("a = Identity(x) b = Identity(a) y = Mul(b, a)", ["Mul"]),
        ("a = Cast<to = 1>(x) y = Relu(a)", ["Relu"]),
        ("a = Cast<to = 11>(x) b = Cast<to = 1>(a) y = Relu(b)", ["Cast", "Cast", "Relu"]),
        ("y = Identity(x)", ["Identity"]),
        ("a = Relu(x) y = Cast<to = 1>(a)", ["Relu", "Cast"]),
    ],
)
def test_steps_that_change_nothing(body, expected):
    rewritten, result = tidied(body)
    assert operators(rewritten) == expected and not result.refused


@pytest.mark.parametrize(
    ("body", "pads"),
    [
        ("a = Pad(x, p) y = Conv(a, w)", (1, 2, 0, 1)),
        ("a = Pad(x, hw, , axes) y = Conv(a, w)", (1, 2, 0, 1)),
        ("a = Pad(x, p) y = Conv<pads = [1, 0, 2, 0]>(a, w)", (2, 2, 2, 1)),
        ('a = Pad(x, p) y = Conv<auto_pad = "VALID">(a, w)', (1, 2, 0, 1)),
    ],
)
def test_padding_joins_that_of_the_convolution(body, pads):
    rewritten, _ = tidied(body)
    assert operators(rewritten) == ["Conv"]
    assert attributes(rewritten.graph.node[0])["pads"] == pads


def test_other_readers_keep_the_padded_tensor():
    rewritten, _ = tidied("a = Pad(x, p) b = Conv(a, w) c = ReduceMax<keepdims = 0>(a) y = Add(b, c)")
    assert sorted(operators(rewritten)) == ["Add", "Conv", "Pad", "ReduceMax"]
    (conv,) = (node for node in rewritten.graph.node if node.op_type == "Conv")
    assert conv.input[0] == "x"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Pad(x, p, one) y = Conv(a, w)", "a is not padded by constant zeros"),
        ('a = Pad<mode = "edge">(x, p) y = Conv(a, w)', "a is not padded by constant zeros"),
        ("a = Pad(x, channels) y = Conv(a, wide)", "not on H and W alone"),
        ("a = Pad(x, negative) y = Conv(a, w)", "negative"),
        ('a = Pad(x, p) y = Conv<auto_pad = "SAME_UPPER">(a, w)', "auto_pad"),
    ],
)
def test_must_not_fire(body, reason):
    rewritten, result = tidied(body)
    assert "Pad" in operators(rewritten)
    assert [reason in entry.reason for entry in result.refused] == [True]
