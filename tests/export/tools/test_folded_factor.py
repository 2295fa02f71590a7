"""Factors that a simplifier has folded along the wrong axis are found by their traces in the file."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser, shape_inference

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.tools.folded_factor import MARGIN, find_folded_factors, log_likelihood_ratio
from rectexport.plugins import reference
from tests.export.helper import numpy_helper

CHANNELS = 16


def factor(size: int, kernel: int) -> np.ndarray:
    """r along one axis, for a padding that keeps the size."""
    pad = kernel // 2
    return reference.rectification_map(1, size, (1, kernel), pads=(0, pad, 0, pad))[0]


def evidence(scale=1.0, size=(CHANNELS, 9), body="y = Relu(c)", pads="1, 1, 1, 1") -> list[str]:
    """What speaks against a 3 x 3 convolution whose 16 channels have been scaled."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((CHANNELS, 4, 3, 3)) * np.reshape(scale, (-1, 1, 1, 1))
    text = f"""<ir_version: 8, opset_import: ["" : 18]> g (float[1, 4, {size[0]}, {size[1]}] x) => (float[A, B, C, D] y)
      {{ c = Conv<pads = [{pads}]>(x, w) {body} }}"""
    model = parser.parse_model(text)
    arrays = {"w": weight, "rows": factor(size[0], 3).reshape(1, 1, -1, 1)}
    arrays["near"] = arrays["rows"] + np.eye(1, size[0]).reshape(1, 1, -1, 1) * 0.01
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    model.graph.initializer.extend(stored)
    graph = open_graph(shape_inference.infer_shapes(model))
    found = find_folded_factors(Scene(graph, Values(graph)))
    return [text for suspicion in found for text in suspicion.evidence]


def test_suspicion_is_rare_without_a_reason():
    random, alarms = np.random.default_rng(0), 0
    for kernel in (3, 7):
        for _ in range(5000):
            norms = np.exp(random.uniform(0.05, 0.6) * random.standard_normal(64))
            alarms += log_likelihood_ratio(norms, factor(64, kernel)) > MARGIN
    assert alarms <= 10


@pytest.mark.parametrize(
    ("axis", "size"), [("rows", (CHANNELS, 9)), ("columns", (9, CHANNELS)), ("rows and columns", (CHANNELS, CHANNELS))]
)
def test_norms_that_follow_a_factor_are_suspicious(axis, size):
    r = factor(CHANNELS, 3)
    (found,) = evidence(r * r, size)
    assert "the weights of channels 0, 15 are larger, as" in found and f"on a plane of {size[0]}x{size[1]}" in found
    assert " " in axis or f"larger, as the factors of {axis} are" in found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": factor(CHANNELS, 3) ** 2, "size": (9, 9)},
        {"scale": factor(CHANNELS, 3) ** 2, "pads": "0, 0, 0, 0", "size": (CHANNELS + 2, 9)},
    ],
    ids=["untouched", "a plane of another size", "no padding"],
)
def test_ordinary_convolutions(options):
    assert evidence(**options) == []


def test_half_a_factor_whose_other_half_may_be_in_the_channels():
    found = evidence(size=(9, CHANNELS), body="y = Mul(c, rows)")
    assert [text for text in found if "multiplies by one half of r: the column factor is missing" in text]
    assert not evidence(size=(9, 8), body="y = Mul(c, rows)"), "the width is not that of the channels"
    assert not evidence(size=(9, CHANNELS), body="y = Mul(c, near)"), "it is not the factor of the rows"


def test_the_ratio_of_an_exact_factor_grows_with_the_channels():
    r = factor(64, 7)
    assert log_likelihood_ratio(r, r) > log_likelihood_ratio(r[:32], r[:32]) > MARGIN
    assert log_likelihood_ratio(1 / r, r) < 0
