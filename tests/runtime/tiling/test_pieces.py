"""Pieces cover an axis, overlap by the windows, and are of one length but for the last."""

from __future__ import annotations

from fractions import Fraction

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from rectexport.runtime.tiling.pieces import cut, smallest_tile
from rectexport.runtime.tiling.windows import AxisWindow

STRIDES = st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4)])


@st.composite
def windows(draw: st.DrawFn) -> AxisWindow:
    stride, low = draw(STRIDES), draw(st.integers(-20, 3))
    align = stride.numerator * draw(st.sampled_from([1, 2, 8]))
    return AxisWindow(stride, Fraction(low), Fraction(low + draw(st.integers(0, 25))), align)


@given(windows(), st.integers(1, 400), st.integers(0, 40))
def test_every_output_is_kept_once_and_its_window_lies_in_the_piece(window: AxisWindow, size: int, more: int) -> None:
    tile = smallest_tile({"y": window}) + more * window.align
    pieces, done = cut(size, tile, {"y": window}), 0
    assert pieces[0].start == 0 and pieces[-1].stop == size
    for piece in pieces:
        assert piece.start % window.align == 0 and piece.size <= tile
        first, end = piece.keep["y"]
        assert first == done and (end is None) == (piece is pieces[-1])
        if piece.start:
            assert window.stride * first + window.low >= piece.start
        if end is not None and end > first:
            assert window.stride * (end - 1) + window.high < piece.stop
            done = end
    assert {piece.size for piece in pieces[:-1]} <= {tile}
    assert len(pieces) == 1 or tile - pieces[-1].size < window.align
