"""The order of the passes, and what each form of rectification runs."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes import PASSES, RECTIFY_FORMS, PassResult, Refusal, select_passes
from tests.export.helper import build, normal, operators, outputs, relative_l2, signature

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"
BODY = f"""
  y = Conv<pads=[1,1,1,1]>(x, w)
  q = rectexport.Rectify<{WINDOW}, empty_bias=1>(y, x, b)
  n = BatchNormalization(q, scale, shift, mean, var)
  c = rectexport.CRelu<axis=1>(n)
  z = Identity(c)
"""


def names(form: str) -> list[str]:
    return [entry.name for entry in select_passes(form)]


def test_order() -> None:
    assert [entry.name for entry in PASSES] == ["batch_norm", "rectify_fold", "rectify_graph", "inline", "cleanup"]


def test_forms() -> None:
    assert RECTIFY_FORMS == ("auto", "fold", "graph", "plugin")
    assert names("auto") == [entry.name for entry in PASSES]
    assert names("fold") == ["batch_norm", "rectify_fold", "inline", "cleanup"]
    assert names("graph") == ["batch_norm", "rectify_graph", "inline", "cleanup"]
    assert not {"rectify_fold", "rectify_graph"} & set(names("plugin"))


@pytest.mark.parametrize("form", [form for form in RECTIFY_FORMS if form != "plugin"])
@pytest.mark.parametrize("dims", ["H,W", "5,6"])
def test_all_together(form: str, dims: str) -> None:
    """Nothing of the dialect is left, the numbers stay, and a second round finds nothing to do."""
    values = {"w": normal(4, 2, 3, 3), "b": normal(4, seed=1), "scale": normal(4, seed=2), "shift": normal(4, seed=3)}
    values |= {"mean": normal(4, seed=4), "var": normal(4, seed=5) ** 2 + np.float32(0.1)}
    model = build(f"(float[N,2,{dims}] x) => (float[N,8,{dims}] z)", BODY, **values)
    feeds = {"x": normal(3, 2, 5, 6)}
    expected, lowered = outputs(model, feeds)[0], model
    for entry in select_passes(form):
        lowered, result = entry.run(lowered)
        assert result.name == entry.name
        assert relative_l2(expected, outputs(lowered, feeds)[0]) <= 1e-6, entry.name
    assert {node.domain for node in lowered.graph.node} == {""}
    assert not lowered.functions
    assert signature(lowered) == signature(model)
    assert "BatchNormalization" not in operators(lowered) and "Identity" not in operators(lowered)
    assert ("Shape" in operators(lowered)) is (dims == "H,W")  # of static sizes even the graph form is constant
    for entry in select_passes(form):
        again, result = entry.run(lowered)
        assert again is lowered, entry.name
        assert not result.fired


def test_report_is_plain() -> None:
    result = PassResult("fold", ("a", "b"), (Refusal("c", "dynamic"),))
    assert result.as_dict() == {
        "name": "fold",
        "fired": ["a", "b"],
        "refused": [{"node": "c", "reason": "dynamic"}],
    }
