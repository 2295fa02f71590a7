"""Files in float64 and bfloat16 become float32 models where ONNX Runtime does not run them as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from rectexport.exporter.frontend.computable import computable
from rectexport.exporter.frontend.source import Source
from tests.export.helper import build, normal

WEIGHT = normal(2, 3, 3, 3)


def given(kind: str, body: str, **stored: Any) -> Source:
    model = build(f"({kind}[1,3,5,5] x) => ({kind}[A,B,C,D] y)", body, 22, **stored)
    dtype = {"double": "float64", "bfloat16": "bfloat16", "float": "float32"}[kind]
    return Source("onnx", model, "file", None, ["x"], input_dtypes={"x": dtype})


def test_a_float64_convolution() -> None:
    source = given("double", "y = Conv(x, w)", w=WEIGHT.astype(np.float64))
    found = computable(source)
    assert found.reference is source.model and found.input_dtypes == {"x": "float32"}
    assert [entry.data_type for entry in found.model.graph.initializer] == [TensorProto.FLOAT]
    assert "float64: it is computed in float32" in found.remarks[0]


def test_bfloat16_by_a_cast() -> None:
    body = f"h = Cast<to={TensorProto.BFLOAT16}>(w)\ny = Conv(x, h)"
    found = computable(given("bfloat16", body, w=WEIGHT))
    assert "bfloat16" in found.remarks[0]
    assert {value.type.tensor_type.elem_type for value in found.model.graph.input} == {TensorProto.FLOAT}


@pytest.mark.parametrize(
    "source",
    [given("double", "y = Add(x, x)"), given("float", "y = Conv(x, w)", w=WEIGHT), Source("module", None, "module")],
    ids=["float64 that runs", "float32", "module"],
)
def test_others_stay(source: Source) -> None:
    assert computable(source) is source
