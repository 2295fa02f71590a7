"""Local response normalization with a broken bias is right on OpenVINO, too."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.passes.engines import lrn_bias
from tests.export.helper import build, normal
from tests.export.passes.engines.helper import exact, needed, refused


def normalization(bias: float | None, dtype: str = "float") -> ModelProto:
    given = "" if bias is None else f", bias={bias}"
    return build(f"({dtype}[N,5,H,W] x) => ({dtype}[N,5,H,W] y)", f"y = LRN<size=3, alpha=0.5, beta=0.75{given}>(x)")


@pytest.mark.parametrize("bias", [0.5, 1.5, 2.25])
def test_openvino_cuts_the_bias(bias: float) -> None:
    needed(lrn_bias.run, normalization(bias), {"x": 3 * normal(2, 5, 3, 4)}, {"x": normal(1, 5, 6, 2)})


def test_float16_stays_float16() -> None:
    model = normalization(1.5, "float16")
    rewritten, result = lrn_bias.run(model)
    assert result.fired
    assert {entry.data_type for entry in rewritten.graph.initializer} == {10}


def test_attributes_that_are_left_out() -> None:
    model = build("(float[1,4,2,2] x) => (float[1,4,2,2] y)", "y = LRN<size=5, bias=0.25>(x)")
    exact(lrn_bias.run, model, {"x": 100 * normal(1, 4, 2, 2)})


@pytest.mark.parametrize("bias", [None, 1.0, 2.0, 0.0])
def test_whole_numbers_stay(bias: float | None) -> None:
    assert not refused(lrn_bias.run, normalization(bias)).refused


def test_a_bias_below_zero_is_refused() -> None:
    assert "-0.5" in refused(lrn_bias.run, normalization(-0.5)).refused[0].reason


def test_factor() -> None:
    rewritten, _ = lrn_bias.run(normalization(4.5))
    (factor,) = rewritten.graph.initializer
    assert np.frombuffer(factor.raw_data, np.float32) == np.float32(4.5**-0.75)
