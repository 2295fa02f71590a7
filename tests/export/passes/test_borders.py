"""Borders as values: the places that they read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rectexport.exporter.graph.dialect import BORDERS, CIRCULAR, POLES, REFLECT, REPLICATE, ZEROS
from rectexport.exporter.passes.borders import NOTHING, Border, axis_places, plane_places, reaches
from rectexport.plugins import reference


@settings(max_examples=60, deadline=None)
@given(mode=st.integers(0, len(BORDERS) - 1), size=st.integers(1, 6), begin=st.integers(0, 7), end=st.integers(0, 7))
def test_places_and_reach_are_the_references(mode: int, size: int, begin: int, end: int) -> None:
    def wanted() -> list[int]:
        found = [reference.source(place, size, BORDERS[mode]) for place in range(-begin, size + end)]
        return [NOTHING if place is None else place for place in found]

    if reaches(size, max(begin, end), mode):
        assert axis_places(size, begin, end, mode).tolist() == wanted()
    else:
        with pytest.raises(ValueError, match="reaches no"):
            wanted()


@settings(max_examples=30, deadline=None)
@given(modes=st.tuples(st.integers(0, 6), st.integers(0, 4)), pads=st.tuples(*[st.integers(0, 2)] * 4))
def test_a_plane(modes: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
    assume(any(pads))
    border = Border(modes, pads[:2], pads[2:])
    plane = np.arange(1.0, 21.0).reshape(1, 1, 4, 5)
    found = plane_places((4, 5), border)
    assert found is not None
    expected = reference.boundary_pad(plane, pads, [BORDERS[mode] for mode in modes])[0, 0]
    np.testing.assert_array_equal(found + 1, expected)


def test_an_axis_that_is_too_short() -> None:
    assert plane_places((2,), Border((REFLECT,), (2,), (0,))) is None


def test_rows_beyond_poles_come_first() -> None:
    assert Border((REPLICATE, POLES, CIRCULAR), (1, 1, 1), (0, 0, 0)).axes == (1, 0, 2)


def test_a_part_of_a_border_and_the_shape_behind_it() -> None:
    border = Border((REFLECT, CIRCULAR), (1, 2), (0, 2))
    assert border.only([1]) == Border((ZEROS, CIRCULAR), (0, 2), (0, 2))
    assert border.extended(["N", 3, 4, "W"]) == ["N", 3, 5, None]
    assert border.only([0]).extended(["N", 3, 4, "W"]) == ["N", 3, 5, "W"]
    assert border.extended(None) is None
