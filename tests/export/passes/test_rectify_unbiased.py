"""Rectify nodes that are biased become plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes import rectify_unbiased
from tests.export.helper import build, check_pass, normal, operators

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9, empty_bias=1"


@pytest.mark.parametrize(
    ("tail", "order"),
    [
        ("u = rectexport.Rectify<{}, biased=1>(y, x, b)", ["Conv", "Rectify"]),
        ("z = rectexport.Rectify<{}, biased=1>(y, x, b)\n u = Add(y, z)", ["Conv", "Reshape", "Sub", "Rectify", "Add"]),
    ],
)
def test_the_bias_is_taken_out(tail: str, order: list[str]) -> None:
    body = "y = Conv<pads=[1,1,1,1]>(x, w)\n " + tail.format(WINDOW)
    model = build("(float[N,2,H,W] x) => (float[N,3,H,W] u)", body, w=normal(3, 2, 3, 3), b=normal(3, seed=1))
    rewritten, _ = check_pass(rectify_unbiased.run, model, {"x": normal(2, 2, 5, 6)})
    assert sorted(operators(rewritten)) == sorted(order)
    assert not any(entry.name == "biased" and entry.i for node in rewritten.graph.node for entry in node.attribute)


def test_plain_nodes_stay() -> None:
    body = f"y = Conv<pads=[1,1,1,1]>(x, w)\n u = rectexport.Rectify<{WINDOW}, biased=0>(y, x, b)"
    model = build("(float[N,2,H,W] x) => (float[N,3,H,W] u)", body, w=normal(3, 2, 3, 3), b=np.ones(3, np.float32))
    rewritten, result = rectify_unbiased.run(model)
    assert rewritten is model and not result.fired
