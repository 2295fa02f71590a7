"""The spellings of −x."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.negation import negated
from tests.export.passes.matching.scenes import parsed

ARRAYS = {
    "minus": np.array(-1, np.float32),
    "listed": np.array([-1], np.float32),
    "deep": np.full((1, 1, 1, 1), -1, np.float32),
    "deeper": np.full((1, 1, 1, 1, 1), -1, np.float32),
    "near": np.array(-1.001, np.float32),
    "each": np.full((4, 1, 1), -1, np.float32),
    "zero": np.array(0, np.float32),
}


@pytest.mark.parametrize(
    "body",
    [
        "z = Neg(x)",
        "z = Mul(x, minus)",
        "z = Mul(minus, x)",
        "z = Mul(x, listed)",
        "z = Mul(x, deep)",
        "z = Div(x, minus)",
        "z = Sub(zero, x)",
        "k = Neg(listed) m = Neg(k) z = Mul(m, x)",
    ],
)
def test_spellings(body):
    graph = parsed(body, **ARRAYS)
    assert negated(graph.scene, graph["z"]) is graph["x"]


@pytest.mark.parametrize(
    "body",
    [
        "z = Mul(x, near)",
        "z = Mul(x, each)",  # −1 a channel may be one of many values: left to the affine steps
        "z = Mul(x, deeper)",  # adds an axis
        "z = Div(minus, x)",
        "z = Sub(x, zero)",
        "z = Add(x, minus)",
        "z = Abs(x)",
        "z = other.Neg(x)",
    ],
)
def test_near_misses(body):
    graph = parsed(body, **ARRAYS)
    assert negated(graph.scene, graph["z"]) is None


def test_a_negated_number_needs_the_rank_of_x():
    graph = parsed("z = Mul(x, deep)", **ARRAYS)
    graph["x"].shape = None
    assert negated(graph.scene, graph["z"]) is None
