"""Colours, axes, and numbers as text."""

from __future__ import annotations

import math

import pytest

from rectexport.runtime.report.scale import STEPS, Axis, Scale
from rectexport.runtime.report.text import bound, compact, file_size, milliseconds, number, short, sizes, visible


def test_colours_rise_with_the_value() -> None:
    scale = Scale.over([2e-8, 4e-6], limit=1e-4)
    assert (scale.low, scale.high) == (-8, -5)
    colours = [scale.colour(10**power) for power in (-8, -7.5, -7, -6.5, -6, -5.5, -5.01)]
    assert colours == sorted(set(colours)) and colours[0] == "s0" and colours[-1] == f"s{STEPS - 1}"
    assert scale.colour(0.0) == "s0"
    assert [scale.colour(value) for value in (1.01e-4, math.inf, math.nan)] == ["over"] * 3


def test_near_values_get_near_colours() -> None:
    scale = Scale.over([1.8e-7, 2.9e-7], limit=1e-4)
    assert scale.high - scale.low >= 2
    assert abs(int(scale.colour(1.8e-7)[1]) - int(scale.colour(2.9e-7)[1])) <= 1


@pytest.mark.parametrize("values", [[], [0.0], [math.nan, math.inf], [1e-300], [1e-7], [1e-6, 1e-6], [5e3]])
@pytest.mark.parametrize("limit", [0.0, 1e-4, 1e9])
def test_any_values_have_a_scale(values: list[float], limit: float) -> None:
    scale = Scale.over(values, limit)
    places = [float(place) for _, place in scale.legend()]
    assert scale.low + 2 <= scale.high
    assert places[0] == 0 and 2 <= len(places) <= 7 and max(places) <= 100


@pytest.mark.parametrize(
    ("low", "high", "logarithmic"), [(1.0, 1.5, False), (0.5, 400.0, True), (7.0, 7.0, False), (0.0, 3.0, False)]
)
def test_axis(low: float, high: float, logarithmic: bool) -> None:
    axis = Axis.over([low, high])
    assert axis.logarithmic is logarithmic
    assert 0 <= axis.place(low) <= axis.place(high) <= 1
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 12 and all(axis.low <= tick <= axis.high for tick in ticks)


def test_decades_of_a_logarithmic_axis_have_equal_length() -> None:
    axis = Axis(1.0, 100.0)
    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])
    assert axis.ticks() == [1, 2, 5, 10, 20, 50, 100]


def test_numbers() -> None:
    assert [number(value) for value in (1.25e-7, 0.0, math.inf, math.nan, None)] == ["1.2e-07", "0", "∞", "NaN", "–"]
    assert [bound(value) for value in (1e-5, 2.5e-3)] == ["1e-05", "2.5e-03"]
    assert [milliseconds(value) for value in (0.01234, 1.234, 31.25, 2656.0)] == [
        "0.0123 ms",
        "1.23 ms",
        "31.2 ms",
        "2656 ms",
    ]
    assert [compact(value) for value in (950, 12_345, 25_557_032)] == ["950", "12.3 k", "25.6 M"]
    assert [file_size(value) for value in (950, 102_400_000)] == ["0.9 kB", "102.4 MB"]
    assert sizes(["batch", 3, 8]) == "batch×3×8" and sizes([]) == "scalar"


def test_text() -> None:
    assert visible("a\x1b\u202e\n<é>") == "a\\x1b\\u202e\n<é>"
    assert short("a\nb") == "a\\nb"
    assert short("abcdefghij", 7) == "abc…hij"
    assert len(short("\x00" * 1000, 50)) == 50
