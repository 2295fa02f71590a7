"""Products with matrices against torch's own antialiased resizing, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rectexport.exporter.preprocess.resize import Line, resize
from tests.export.nets import image


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(
    ("size", "result"), [((9, 14), (4, 5)), ((9, 14), (13, 30)), ((7, 8), (7, 3)), ((5, 6), (1, 1))]
)
def test_against_torch(size: tuple[int, int], result: tuple[int, int], cubic: bool) -> None:
    y = image(2, 3, *size).double()
    mode = "bicubic" if cubic else "bilinear"
    wanted = functional.interpolate(y, size=result, mode=mode, antialias=True, align_corners=False)
    lines = [Line(before, after, 0, after) for before, after in zip(size, result, strict=True)]
    got = resize(y, *lines, cubic, torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_part_of_the_result() -> None:
    y, one = image(1, 1, 9, 9).double(), torch.ones(1, 1, dtype=torch.float64)
    whole = resize(y, Line(9, 6, 0, 6), Line(9, 5, 0, 5), False, one)
    part = resize(y, Line(9, 6, 2, 3), Line(9, 5, 1, 2), False, one)
    torch.testing.assert_close(part, whole[:, :, 2:5, 1:3])
