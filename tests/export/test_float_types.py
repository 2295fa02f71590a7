"""ONNX files in float16, bfloat16 and float64 become packages, compared within the rounding of their own type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto

import rectexport
from rectexport.exporter.frontend.load import load_source
from rectexport.runtime.package.proofs import read_proofs
from tests.export.helper import build, normal
from tests.export.nets import exported

TYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "double": np.float64}
BODY = """
c = Conv<pads=[1,1,1,1]>(x, w)
n = BatchNormalization(c, one, b, m, one)
r = Relu(n)
y = GlobalAveragePool(r)
"""


def network(kind: str) -> ModelProto:
    weights = {"w": normal(4, 3, 3, 3), "one": np.full(4, 1.5), "b": normal(4, seed=1), "m": normal(4, seed=2)}
    stored = {name: value.astype(TYPES[kind]) for name, value in weights.items()}
    return build(f"({kind}[2,3,8,9] x) => ({kind}[2,4,1,1] y)", BODY, 22, **stored)


@pytest.mark.parametrize(("kind", "computed"), [("float16", "float16"), ("bfloat16", "float32"), ("double", "float32")])
def test_every_float_type_is_packaged(kind: str, computed: str, tmp_path: Path) -> None:
    onnx.save(network(kind), tmp_path / "net.onnx")
    result = exported(load_source(tmp_path / "net.onnx"), tmp_path / "package")
    (proof,) = read_proofs(result.package.manifest.data)
    assert proof.precision == computed and result.parity.passed
    assert result.parity.cases[0].layers, "inner tensors are compared"
    with rectexport.load(result.package.path) as session:
        answer = session.run({"x": result.package.goldens()[0]["x"]})["y"]
    assert answer.dtype == computed
    assert ("computed in float32" in " ".join(result.remarks)) == (kind != "float16")
