"""Sums and products of 8-bit integers wrap around on OpenVINO, too."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes import cleanup
from rectexport.exporter.passes.engines import narrow_arithmetic
from tests.export.helper import build, check_pass, normal
from tests.export.passes.engines.helper import exact, needed, refused

EVERY = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_every_pair_of_numbers(operator: str, dtype: str) -> None:
    model = build(f"({dtype}[256,1] a, {dtype}[1,256] b) => ({dtype}[256,256] y)", f"y = {operator}(a, b)")
    numbers = EVERY.astype(dtype)
    exact(narrow_arithmetic.run, model, {"a": numbers[:, None].copy(), "b": numbers[None].copy()})


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_openvino_saturates_without_the_pass(dtype: str) -> None:
    body = "a = Add(x, c)\n b = Mul(a, d)\n y = Cast<to=1>(b)"
    stored = {"c": np.array(40, dtype), "d": np.array(2, dtype)}
    needed(
        narrow_arithmetic.run, build(f"({dtype}[256] x) => (float[256] y)", body, **stored), {"x": EVERY.astype(dtype)}
    )


def test_chains_hold_no_narrow_tensor_inside() -> None:
    """TensorRT takes uint8 only where it is cast at once."""
    body = "a = Add(x, c)\n b = Mul(a, a)\n y = Cast<to=1>(b)"
    model = build("(uint8[256] x) => (float[256] y)", body, c=np.array(40, np.uint8))
    rewritten, _ = cleanup.run(exact(narrow_arithmetic.run, model, {"x": EVERY}))
    assert [node.attribute[0].i for node in rewritten.graph.node if node.op_type == "Cast"] == [6, 6, 1]


def test_wider_types_stay() -> None:
    model = build("(int32[4] x, float[4] z) => (int32[4] y, float[4] w)", "y = Add(x, x)\n w = Mul(z, z)")
    _, result = check_pass(narrow_arithmetic.run, model, {"x": np.arange(4, dtype=np.int32), "z": normal(4)})
    assert not result.fired and not result.refused


def test_below_opset_13_is_refused() -> None:
    model = build("(uint8[4] x) => (uint8[4] y)", "y = Add(x, x)", 14)
    model.opset_import[0].version = 12
    assert "opset 12" in refused(narrow_arithmetic.run, model).refused[0].reason
