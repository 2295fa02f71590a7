"""Windows as the manifest records them."""

from __future__ import annotations

from fractions import Fraction

from rectexport.runtime.tiling.windows import AxisWindow, _read


def test_halo_is_what_lies_beyond_the_outputs_own_pixels() -> None:
    assert AxisWindow(Fraction(2), Fraction(-3), Fraction(4), 2).halo == (3, 3)
    assert AxisWindow(Fraction(1, 2), Fraction(-1, 2), Fraction(0), 1).halo == (1, 1)


def test_what_is_written_reads_back() -> None:
    window = AxisWindow(Fraction(1, 4), Fraction(-7, 2), Fraction(3), 8)
    assert _read(window.as_dict()) == window


def test_the_latest_start_is_aligned_and_holds_the_window() -> None:
    window = AxisWindow(Fraction(2), Fraction(-3), Fraction(3), 4)
    assert window.latest_start(10) == 16
    assert window.end_valid(24) == 11
