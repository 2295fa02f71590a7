"""Windows, paddings and tap counts in torch's terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rectexport.models.layers.geometry import Window, one_of, pair, rectification_map, resolve_padding, valid_taps
from rectexport.plugins import reference

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (2, (2, 2, 2, 2)),
        ((1, 2), (1, 2, 1, 2)),
        ((1, 2, 3, 4), (3, 1, 4, 2)),  # left, right, top, bottom as torch.nn.functional.pad has them
        ("valid", (0, 0, 0, 0)),
        ("same", (1, 1, 2, 2)),
    ],
)
def test_resolve_padding(padding: Any, expected: tuple[int, ...]) -> None:
    assert resolve_padding(padding, (2, 4), (1, 1), (3, 1)) == expected


@pytest.mark.parametrize("padding", ["full", -1, (1, 2, 3), (0, 0, -1, 0), (1,) * 5])
def test_other_paddings_are_refused(padding: Any) -> None:
    with pytest.raises(ValueError, match="padding"):
        resolve_padding(padding, (3, 3), (1, 1), (1, 1))


def test_pair_and_one_of() -> None:
    assert pair(2, "stride") == pair([2], "stride") == pair((2, 2), "stride") == (2, 2)
    with pytest.raises(ValueError, match="stride: expected an int or 2 of them"):
        pair((1, 2, 3), "stride")
    one_of("sum", ("sum", "average"), "mode")
    with pytest.raises(ValueError, match="mode"):
        one_of("avg", ("sum", "average"), "mode")


@pytest.mark.parametrize(
    "window",
    [
        Window((3, 3), pads=(1, 1, 1, 1)),
        Window((2, 5), (2, 3), (0, 4, 1, 2), (3, 1)),
        Window((1, 1), pads=(1, 0, 0, 2)),
    ],
)
@pytest.mark.parametrize("mode", ["sum", "average"])
def test_the_map_is_that_of_the_reference(window: Window, mode: str) -> None:
    expected = reference.rectification_map(7, 8, window.kernel, window.stride, window.pads, window.dilation, mode)
    assert window.output_size((7, 8)) == expected.shape
    found = rectification_map((7, 8), window, mode, torch.float64, CPU)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


def test_valid_taps_over_both_ends() -> None:
    assert valid_taps(5, 5, 3, 1, 1, 1, CPU).tolist() == [2, 3, 3, 3, 2]
    assert valid_taps(3, 3, 2, 1, 1, 2, CPU).tolist() == [1, 2, 1]
    assert valid_taps(2, 3, 1, 2, 1, 1, CPU).tolist() == [0, 1, 0]
