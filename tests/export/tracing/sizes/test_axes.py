"""Names of axes, and the sizes that dynamic_shapes ask for."""

from __future__ import annotations

import numpy as np
import pytest
from torch.export import Dim

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.sizes.axes import (
    AskedAxis,
    asked_axis,
    asked_dims,
    asked_ranges,
    axis_names,
    image_axis,
)
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape, ShapeRange


def plan(low: Shape, high: Shape, name: str = "x") -> InputPlan:
    return InputPlan(name, np.zeros(high, np.float32), ShapeRange(low, high, high))


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        ((1, 3, 8, 8), (4, 3, 16, 16), {0: "batch", 2: "height", 3: "width"}),
        ((1, 8, 8, 3), (4, 16, 16, 3), {0: "batch", 1: "height", 2: "width"}),
        ((1, 8, 3), (4, 9, 3), {0: "batch", 1: "x_1"}),
    ],
)
def test_axes_are_named_by_the_layout(low: Shape, high: Shape, names: dict[int, str]) -> None:
    assert axis_names([plan(low, high)]) == {"x": names}


def test_other_ranks_have_no_image_axes() -> None:
    assert image_axis(plan((1, 8, 3), (4, 9, 3)).range, 1) == ""


@pytest.mark.parametrize(
    ("dim", "expected"),
    [
        (Dim("h", min=2, max=9), AskedAxis(2, 9, 1, "h")),
        (Dim("h"), AskedAxis(1, MAX_DIMENSION, 1, "h")),
        (32 * Dim("h", min=1, max=10), AskedAxis(32, 320, 32, "h_32_0")),
        (8 * Dim("h", min=1, max=4) + 1, AskedAxis(9, 33, 8, "h_8_1")),
        (8 * Dim("h", min=1), AskedAxis(8, MAX_DIMENSION, 8, "h_8_0")),
        (Dim.AUTO, AskedAxis(1, MAX_DIMENSION)),
    ],
)
def test_every_kind_of_dimension(dim: object, expected: AskedAxis) -> None:
    assert asked_axis(dim) == expected


@pytest.mark.parametrize("shapes", [({2: Dim("h")},), {"x": {2: Dim("h")}}, ((None, None, Dim("h"), None),)])
def test_every_form_of_dynamic_shapes(shapes: object) -> None:
    assert list(asked_dims("x", 0, shapes)) == [2]
    assert asked_dims("y", 1, shapes) == {}


def test_named_dimensions_give_the_range() -> None:
    entry = InputPlan("x", np.zeros((1, 3, 64, 64), np.float32), ShapeRange(*[(1, 3, 64, 64)] * 3))
    (over,), _ = asked_ranges([entry], ({2: 32 * Dim("h", min=1, max=10), 3: Dim.DYNAMIC},))
    assert over.range == ShapeRange((1, 3, 32, 64), (1, 3, 64, 64), (1, 3, 320, 64), (1, 1, 32, 1))
