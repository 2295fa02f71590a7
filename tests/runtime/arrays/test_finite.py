"""NaN passes through; with check_finite, the error names the output, and the inputs that hold NaN."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.arrays.finite import check_finite
from rectexport.runtime.arrays.kinds import NUMPY, library_of
from rectexport.runtime.errors import NotFinite
from tests.runtime.fakes import FakeCupyArray, fake_cupy
from tests.runtime.tiny import dynamic_package

GOOD = np.ones((2, 3), np.float32)


def spoiled(value: float, *index: int) -> np.ndarray:
    array = GOOD.copy()
    array[index] = value
    return array


def kinds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    made: list[Any] = [lambda array: array, FakeCupyArray]
    return [*made, sys.modules["torch"].from_numpy] if "torch" in sys.modules else made


def test_the_first_bad_output_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in kinds(monkeypatch):
        feeds = {"a": make(GOOD), "b": make(spoiled(np.inf, 0, 2))}
        results = {"p": make(GOOD), "q": make(spoiled(np.nan, 1, 1)), "r": make(spoiled(np.nan, 0))}
        library = library_of(feeds["a"])
        assert library is not None
        with pytest.raises(NotFinite) as found:
            check_finite(library, feeds, results)
        assert str(found.value) == (
            "output q has 1 of 6 elements NaN or infinite, the first at [1, 1]; "
            "input b has 1 of 6 elements NaN or infinite, the first at [0, 2]"
        )
        check_finite(library, {"a": make(GOOD), "b": make(spoiled(np.inf, 0))}, {"p": make(GOOD)})


def test_the_error_says_if_all_inputs_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFinite, match=r"^output y has 3 of 6 .* first at \[0, 0\]; all inputs are finite$"):
        check_finite(NUMPY, {"x": GOOD}, {"y": spoiled(-np.inf, 0)})


def test_nan_that_the_engine_drops_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        NotFinite, match=r"^input x has 1 of 6 elements NaN, .*, but the outputs are finite: the engine dropped it"
    ):
        check_finite(NUMPY, {"x": spoiled(np.nan, 0, 0)}, {"y": GOOD})


def test_whole_numbers_are_finite() -> None:
    check_finite(NUMPY, {"x": np.arange(3)}, {"y": np.ones(3, np.bool_)})


def test_a_session_passes_nan_through_by_default(tmp_path: Path) -> None:
    package = dynamic_package(tmp_path / "tiny")
    image = np.ones((1, 1, 8, 8), np.float32)
    image[0, 0, 4, 4] = np.nan
    with load(package.path, "onnxruntime", threads=1) as session:
        answer = session(image)
        assert np.isnan(answer).sum() == 9  # where the 3x3 kernel sees it, and nowhere else
        assert answer[0, 0, 0, 0] == 4
    with load(package.path, "onnxruntime", threads=1, check_finite=True) as session:
        with pytest.raises(NotFinite, match=r"^output y has 9 of 64 .* \[0, 0, 3, 3\]; input x has 1 of 64 .*4, 4\]$"):
            session(image)
        assert session(np.ones((1, 1, 8, 8), np.float32)).shape == (1, 1, 8, 8)
