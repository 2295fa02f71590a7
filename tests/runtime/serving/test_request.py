"""Requests from checked tensors and parameters, whichever protocol they came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.request import (
    assemble,
    check_output,
    check_parameters,
    from_bytes,
    read_timeout,
)
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import Signature

INPUTS = [TensorEntry("a", "float32", ("n", 2)), TensorEntry("b", "float32", ("n", 3))]
SIGNATURE = Signature.of(INPUTS, [TensorEntry("y", "float32", ("n", 4))])


def feeds(rows: int, other_rows: int | None = None) -> dict[str, Any]:
    return {
        "b": np.zeros((rows if other_rows is None else other_rows, 3), np.float32),
        "a": np.zeros((rows, 2), np.float32),
    }


def test_a_batched_request_has_rows_and_the_models_order() -> None:
    request = assemble(SIGNATURE, feeds(5), id="r")
    assert list(request.feeds) == ["a", "b"] and request.rows == 5 and request.id == "r"
    assert request.key == ((2,), (3,)) == assemble(SIGNATURE, feeds(1)).key


def test_without_batching_the_whole_shape_is_the_key() -> None:
    request = assemble(SIGNATURE.unbatched(), feeds(5))
    assert request.rows == 1 and request.key == ((5, 2), (5, 3))


@pytest.mark.parametrize(
    ("given", "said"),
    [({"a": feeds(1)["a"]}, "input b is missing; the model takes a, b"), (feeds(1, 2), "differ in batch size: 1, 2")],
)
def test_missing_inputs_and_unequal_batch_sizes_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        assemble(SIGNATURE, given)
    assert refused.value.status == 400


def test_unknown_outputs_are_refused() -> None:
    assert check_output(SIGNATURE, "y") == "y"
    for name in ("z", None, ["y"]):
        with pytest.raises(RequestError, match=r"no output .*; the model gives y"):
            check_output(SIGNATURE, name)


@pytest.mark.parametrize("parameters", [[], "x", {"shared_memory_region": "r"}])
def test_unsupported_parameters_are_refused(parameters: Any) -> None:
    with pytest.raises(RequestError, match=r"^input a: "):
        check_parameters(parameters, "input a")
    assert check_parameters(None, "input a") == {} and check_parameters({"k": 1}, "input a") == {"k": 1}


def test_the_timeout_is_in_microseconds_and_zero_means_the_servers() -> None:
    assert read_timeout({"timeout": 2500}) == pytest.approx(2.5e-3)
    assert read_timeout({}) is None and read_timeout({"timeout": 0}) is None
    for value in (-1, 1.5, True, "1", 2**63):
        with pytest.raises(RequestError, match="expected whole microseconds"):
            read_timeout({"timeout": value})


def test_tensors_share_the_bodys_bytes() -> None:
    body = b"head" + np.arange(6, dtype=np.float32).tobytes()
    array = from_bytes(body, np.dtype(np.float32), (2, 3), 4, "a", 24)
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]] and array.base is not None
    with pytest.raises(RequestError, match=r"input a: expected 24 bytes for shape \[2, 3\], got 20"):
        from_bytes(body, np.dtype(np.float32), (2, 3), 4, "a", 20)
    with pytest.raises(RequestError, match="BOOL bytes are 0 or 1"):
        from_bytes(b"\x02", np.dtype(np.bool_), (1,), 0, "a", 1)
