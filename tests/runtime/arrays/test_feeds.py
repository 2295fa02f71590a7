"""Several inputs must have one library, one device, and one size for each dimension name."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from rectexport.runtime.arrays.feeds import check_feeds
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry
from tests.runtime.fakes import FakeCupyArray, fake_cupy

LEFT = TensorEntry(
    "left", "float32", ("batch", 3, "size", "size"), ShapeRange((1, 3, 4, 4), (2, 3, 8, 8), (4, 3, 9, 9))
)
RIGHT = TensorEntry("right", "int64", ("batch", "words"))
UNNAMED = TensorEntry("x", "float32", ("", ""))


def left(*shape: int) -> np.ndarray:
    return np.zeros(shape or (2, 3, 8, 8), np.float32)


def right(*shape: int) -> np.ndarray:
    return np.zeros(shape or (2, 5), np.int64)


def test_equal_names_of_equal_size_pass() -> None:
    check_feeds([LEFT, RIGHT], {"left": left(), "right": right()})
    check_feeds([UNNAMED], {"x": np.zeros((2, 3), np.float32)})  # an empty name names nothing


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        (
            {"left": left(), "right": right(3, 5)},
            "input right, axis 0: expected 2, got 3 in shape [3, 5]: batch must have one size, and is 2 in input left, "
            "axis 0",
        ),
        (
            {"left": left(2, 3, 8, 9), "right": right()},
            "input left, axis 3: expected 8, got 9 in shape [2, 3, 8, 9]: size must have one size, and is 8 in input "
            "left, axis 2",
        ),
        ({"left": left(2, 3, 8, 10), "right": right()}, "input left, axis 3: expected 4..9, got 10 in shape [2, 3, 8"),
        ({"left": left(), "other": right()}, "no input named 'other'; the model takes left, right"),
        ({"right": right()}, "input left is missing; got right"),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused(feeds: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_feeds([LEFT, RIGHT], feeds)
    assert str(refused.value).startswith(said)


def test_inputs_of_two_libraries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    with pytest.raises(BadInput, match=r"^input right: a CuPy array, but input left is NumPy; give all inputs from"):
        check_feeds([LEFT, RIGHT], {"left": left(), "right": FakeCupyArray(right())})


def test_inputs_on_two_devices_are_refused() -> None:
    torch = pytest.importorskip("torch")
    from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors, TorchTensors

    assert TorchTensors(torch) != TorchCudaTensors(torch)
    library = check_feeds([RIGHT], {"right": torch.zeros((2, 5), dtype=torch.int64)})
    assert library == TorchTensors(torch)


def test_sizes_between_two_steps_are_refused() -> None:
    bounds = ShapeRange((1, 32), (1, 64), (4, 320), (1, 32))
    entry = TensorEntry("x", "float32", ("batch", "width"), bounds)
    check_feeds([entry], {"x": np.zeros((2, 96), np.float32)})
    said = re.escape(
        "axis 1: expected 32..320 in steps of 32, got 70 in shape [2, 70]; the nearest sizes that fit are 64 and 96"
    )
    with pytest.raises(BadInput, match=said):
        check_feeds([entry], {"x": np.zeros((2, 70), np.float32)})
