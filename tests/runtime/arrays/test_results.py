"""An engine's outputs are compared with the manifest: rank, fixed sizes, sizes shared with inputs, dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rectexport.runtime.arrays.kinds import NUMPY
from rectexport.runtime.arrays.results import ResultCheck
from rectexport.runtime.errors import ParityError
from rectexport.runtime.package.manifest import TensorEntry

INPUTS = (TensorEntry("x", "float32", ("batch", 3, "height", 8)), TensorEntry("s", "float32", ()))
OUTPUTS = (
    TensorEntry("logits", "float32", ("batch", 10)),
    TensorEntry("mask", "float32", ("batch", 1, "height", "other")),
)
FEEDS = {"x": np.zeros((2, 3, 5, 8), np.float32), "s": np.zeros((), np.float32)}


def results(**changed: Any) -> dict[str, Any]:
    return {"logits": np.zeros((2, 10), np.float32), "mask": np.zeros((2, 1, 5, 99), np.float32), **changed}


def test_outputs_as_the_manifest_has_them_pass() -> None:
    ResultCheck(INPUTS, OUTPUTS)(NUMPY, FEEDS, results(), "engine")


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("logits", (2, 10, 1), "float32"),  # an axis too many
        ("logits", (2, 11), "float32"),  # a fixed size
        ("logits", (3, 10), "float32"),  # another batch than the input's
        ("mask", (2, 1, 6, 99), "float32"),  # another height than the input's
        ("logits", (2, 10), "float64"),
    ],
)
def test_another_output_is_refused_with_expected_and_actual(name: str, shape: tuple[int, ...], dtype: str) -> None:
    check = ResultCheck(INPUTS, OUTPUTS)
    with pytest.raises(ParityError) as caught:
        check(NUMPY, FEEDS, results(**{name: np.zeros(shape, dtype)}), "OpenVINO 1")
    assert f"output {name}: expected float32" in str(caught.value)
    assert f"OpenVINO 1 gave {dtype} {list(shape)}" in str(caught.value)
