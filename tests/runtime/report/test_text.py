"""Names and numbers as the page shows them."""

from __future__ import annotations

import math

import pytest

from rectexport.runtime.report import text


def test_unprintable_characters_become_escapes() -> None:
    assert text.visible("a\x1b[0m\u202eb\n") == "a\\x1b[0m\\u202eb\n"
    assert text.short("a\nb") == "a\\nb"


def test_long_names_lose_their_middle() -> None:
    assert text.short("x" * 10, 10) == "x" * 10
    assert text.short("abcdefghijk", 5) == "ab…jk" and len(text.short("x" * 999)) == text.MAX_LENGTH


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (math.nan, "NaN"), (math.inf, "∞"), (0.0, "0"), (1.46e-7, "1.5e-07")]
)
def test_distances(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_tolerances_have_no_needless_digit() -> None:
    assert (text.bound(1e-5), text.bound(2.5e-5)) == ("1e-05", "2.5e-05")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.345, "12.3 ms"), (0.01234, "0.0123 ms"), (1234.5, "1234 ms"), (0.0, "0.00 ms"), (None, "–"), (math.inf, "–")],
)
def test_times_have_three_significant_digits(value: float | None, shown: str) -> None:
    assert text.milliseconds(value) == shown


def test_counts_and_sizes_are_rounded() -> None:
    counts = [text.compact(value) for value in (999, 12_345, 25_557_032, 3e9)]
    assert counts == ["999", "12.3 k", "25.6 M", "3.0 G"]
    assert (text.file_size(1500), text.file_size(102_400_000)) == ("1.5 kB", "102.4 MB")


def test_shapes_show_dynamic_dimensions_by_name() -> None:
    assert (text.sizes((1, "height", 3)), text.sizes(())) == ("1×height×3", "scalar")
