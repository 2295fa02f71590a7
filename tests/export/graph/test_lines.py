"""Tensors along one axis, told from tokens."""

from __future__ import annotations

import numpy as np

from rectexport.exporter.graph.lines import along_one_axis
from tests.export.helper import build


def test_what_follows_from_a_convolution_place_by_place() -> None:
    body = """a = Conv(x, w) b = Relu(a) c = Add(b, x) d = MatMul(c, v) e = Relu(d) f = Relu(x)
      g = Transpose<perm=[0,2,1]>(b) y = Concat<axis=0>(d, e, f)"""
    weights = {"w": np.ones((2, 2, 1), np.float32), "v": np.eye(5, dtype=np.float32)}
    assert along_one_axis(build("(float[1,2,5] x) => (float[A,2,5] y)", body, 18, **weights)) == {"a", "b", "c"}
