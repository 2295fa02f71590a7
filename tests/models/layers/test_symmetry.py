"""Channel groups and corners of symmetric padding."""

from __future__ import annotations

import pytest

from rectexport.models.layers.symmetry import ORDERS, group_pads, group_sizes
from rectexport.plugins import reference


@pytest.mark.parametrize("channels", range(1, 14))
@pytest.mark.parametrize("remainder", ["first", "last"])
def test_groups_are_those_of_the_reference(channels: int, remainder: str) -> None:
    sizes = group_sizes(channels, remainder)
    assert sizes == list(reference.group_sizes(channels, remainder)) and sum(sizes) == channels


def test_a_remainder_may_be_an_error() -> None:
    assert group_sizes(8, "error") == [2, 2, 2, 2]
    with pytest.raises(ValueError, match="expected a multiple of 4 with remainder='error', got 9"):
        group_sizes(9, "error")
    with pytest.raises(ValueError, match="remainder"):
        group_sizes(8, "middle")


@pytest.mark.parametrize("order", ORDERS)
def test_orders_are_those_of_the_reference(order: str) -> None:
    assert ORDERS[order] == tuple(reference.SYMMETRIC_ORDERS[order])
    assert sorted(ORDERS[order]) == ["BL", "BR", "TL", "TR"]


def test_the_extra_row_and_column_stand_at_the_corner() -> None:
    assert group_pads(2, "wu") == [0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1]
    assert group_pads(4, "elnas") == [2, 2, 1, 1, 2, 1, 1, 2, 1, 2, 2, 1, 1, 1, 2, 2]
    for arguments in ((3, "wu"), (2, "other")):
        with pytest.raises(ValueError, match=r"kernel_size|order"):
            group_pads(*arguments)
