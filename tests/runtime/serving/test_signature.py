"""A model's inputs in the protocol's terms."""

from __future__ import annotations

import pytest

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.batching.rows import UNBOUNDED
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import Signature


def entry(name: str, *shape: int | str, high: int | None = None) -> TensorEntry:
    bounds = None
    if high is not None:
        least = tuple(1 if isinstance(size, str) else size for size in shape)
        bounds = ShapeRange(least, least, tuple(high if isinstance(size, str) else size for size in shape))
    return TensorEntry(name, "float32", shape, bounds)


@pytest.mark.parametrize(
    ("inputs", "outputs", "limit", "rows"),
    [
        ([entry("x", "batch", 3, high=16)], [entry("y", "batch", 2)], None, 16),
        ([entry("x", "batch", 3, high=16)], [entry("y", "batch", 2)], 4, 4),
        ([entry("x", "batch", 3, high=16)], [entry("y", "batch", 2)], 64, 16),
        ([entry("x", "n", high=16), entry("z", "n", high=8)], [entry("y", "n")], None, 8),
        ([entry("x", "batch", 3)], [entry("y", "batch", 2)], None, UNBOUNDED),
        ([entry("x", 4, 3)], [entry("y", 4, 2)], None, 0),
        ([entry("x", "batch", 3, high=16)], [entry("y", 10)], None, 0),
        ([entry("x", "batch", high=16), entry("z", "other", high=16)], [entry("y", "batch")], None, 0),
        ([entry("x", "batch", high=16)], [entry("y")], None, 0),
    ],
)
def test_requests_share_a_run_where_axis_0_is_one_dynamic_dimension(
    inputs: list[TensorEntry], outputs: list[TensorEntry], limit: int | None, rows: int
) -> None:
    assert Signature.of(inputs, outputs, limit).max_batch == rows


@pytest.mark.parametrize(
    ("datatype", "shape", "said"),
    [
        ("FP64", [2, 3, 4], "expected datatype FP32, got 'FP64'"),
        (None, [2, 3, 4], "expected datatype FP32"),
        ("FP32", [2, 3], r"expected shape \[1..8, 3, 4..6\], got \[2, 3\]"),
        ("FP32", [9, 3, 4], r"got \[9, 3, 4\]"),
        ("FP32", [0, 3, 4], r"got \[0, 3, 4\]"),
        ("FP32", [2, 3, 7], r"got \[2, 3, 7\]"),
        ("FP32", [2.0, 3, 4], "whole numbers"),
        ("FP32", [True, 3, 4], "whole numbers"),
        ("FP32", "2,3,4", "whole numbers"),
        ("FP32", None, "whole numbers"),
        ("FP32", [10**30] * 40, "…"),
    ],
)
def test_wrong_shapes_and_datatypes_are_refused(
    signature: Signature, datatype: object, shape: object, said: str
) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        signature.inputs["x"].check(datatype, shape)
    assert refused.value.status == 400
    assert "input x" in str(refused.value) and len(str(refused.value)) < 500


def test_an_accepted_shape_is_a_tuple(signature: Signature) -> None:
    assert signature.inputs["x"].check("FP32", [8, 3, 6]) == (8, 3, 6)
    assert signature.inputs["x"].metadata() == {"name": "x", "datatype": "FP32", "shape": [-1, 3, -1]}


def test_steps_are_checked_and_said() -> None:
    bounds = ShapeRange((1, 32), (1, 64), (4, 320), (1, 32))
    tensor = Signature.of([TensorEntry("x", "float32", ("n", "w"), bounds)], [entry("y", "n")]).inputs["x"]
    assert tensor.expected == "[1..4, 32..320 in steps of 32]"
    assert tensor.check("FP32", [2, 64]) == (2, 64)
    with pytest.raises(RequestError, match="in steps of 32"):
        tensor.check("FP32", [2, 65])
