"""Which pads and group sizes are those of symmetric padding."""

from __future__ import annotations

import itertools

import pytest

from rectexport.exporter.passes.matching.corners import CORNERS, are_symmetric, corner_pads, is_division
from rectexport.models.layers.symmetry import ORDERS, group_pads


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", [2, 4])
def test_the_pads_are_those_of_the_layer(order, kernel):
    pads = corner_pads(ORDERS[order], kernel // 2 - 1)
    assert pads == group_pads(kernel, order)
    assert are_symmetric(pads)


def test_any_order_of_four_corners_is_symmetric_and_three_corners_are_not():
    for corners in itertools.product(CORNERS, repeat=4):
        assert are_symmetric(corner_pads(corners, 0)) == (len(set(corners)) == 4)


def test_the_pads_of_a_larger_kernel_are_not_symmetric():
    assert not are_symmetric(corner_pads(tuple(CORNERS), 2))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((2, 2, 2, 2), True),
        ((3, 3, 2, 2), True),
        ((2, 2, 2, 4), True),
        ((2, 2, 3, 3), False),
        ((1, 3, 2, 2), False),
        ((3, 3, 3), False),
    ],
)
def test_is_division(sizes, expected):
    assert is_division(sizes) == expected
