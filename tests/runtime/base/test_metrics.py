"""Distances agree with simple loops, and a region counts only its own errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.metrics import REGIONS, Difference, compare, compare_regions, region_masks

SAME = Difference(0.0, 0.0, 1.0)
CLASH = Difference(math.inf, math.inf, 0.0)


def pair(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> tuple[Any, Any]:
    """A random tensor, and the same with small errors."""
    generator = np.random.default_rng(seed)
    expected = generator.standard_normal(shape)
    return expected.astype(dtype), (expected + 0.01 * generator.standard_normal(shape)).astype(dtype)


def naive(expected: Any, actual: Any, floor: float = 0.0) -> tuple[float, float, float]:
    """Largest error, relative L2 and cosine, one element after the other."""
    largest = error = norm = other = product = 0.0
    for wanted, got in zip(expected.ravel().tolist(), actual.ravel().tolist(), strict=True):
        largest = max(largest, abs(got - wanted))
        error += (got - wanted) ** 2
        norm += wanted**2
        other += got**2
        product += wanted * got
    return largest, math.sqrt(error) / max(math.sqrt(norm), floor), product / math.sqrt(norm * other)


def region_of(row: int, column: int, height: int, width: int, border: int) -> str:
    """How many pairs of opposite sides a pixel is near to."""
    near = [row < border or height - row <= border, column < border or width - column <= border]
    return {0: "interior", 1: "edge", 2: "corner"}[sum(near)]


def numbers(value: Difference) -> tuple[float, float, float]:
    return value.max_abs, value.relative_l2, value.cosine


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (2, 3, 5, 7), (2, 1, 3, 2, 2)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_compare_agrees_with_loops(shape: tuple[int, ...], dtype: str) -> None:
    expected, actual = pair(shape, dtype)
    found = compare(expected, actual)
    assert numbers(found) == pytest.approx(naive(expected.astype("float64"), actual.astype("float64")), rel=1e-12)
    assert 0 < found.relative_l2 < 0.1


def test_the_scale_is_that_of_the_expected_tensor() -> None:
    found = compare(np.array([3.0, 4.0]), np.array([3.0, 0.0]))
    assert numbers(found) == pytest.approx((4.0, 4 / 5, 9 / 15))
    assert numbers(compare(np.array([3.0, 0.0]), np.array([3.0, 4.0]))) == pytest.approx((4.0, 4 / 3, 9 / 15))
    assert numbers(compare(np.array([1.0, -2.0]), np.array([-1.0, 2.0]))) == pytest.approx((4.0, 2.0, -1.0))


def test_differences_are_taken_in_float64() -> None:
    large = np.full(4, 60000, np.float16)
    assert compare(large, -large).max_abs == 120000  # float16 ends at 65504
    assert numbers(compare(large, -large)) == pytest.approx((120000, 2.0, -1.0))
    assert compare(np.array([250], np.uint8), np.array([5], np.uint8)).max_abs == 245
    assert compare(np.array([True, False]), np.array([False, False])).max_abs == 1
    huge = np.array([1e30], np.float32)
    assert compare(huge, huge * np.float32(2)).relative_l2 == pytest.approx(1.0, rel=1e-6)


def test_equal_tensors_have_distance_0() -> None:
    expected, _ = pair((2, 3, 5, 7))
    assert numbers(compare(expected, expected)) == (0.0, 0.0, pytest.approx(1.0, abs=1e-15))
    assert compare(expected, expected).cosine <= 1.0
    assert compare(np.zeros((0, 4)), np.zeros((0, 4))) == SAME


def test_zeros() -> None:
    zeros, ones = np.zeros((3, 4, 5)), np.ones((3, 4, 5))
    assert compare(zeros, zeros) == SAME
    assert compare(zeros, ones) == Difference(1.0, math.inf, 0.0)
    assert compare(ones, zeros) == Difference(1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("wanted", "got"), [(1.0, np.nan), (np.nan, 1.0), (np.inf, 1.0), (np.inf, -np.inf), (np.nan, np.inf), (1.0, np.inf)]
)
def test_an_element_finite_on_one_side_only_is_infinitely_wrong(wanted: float, got: float) -> None:
    assert compare(np.array([0.0, wanted, 2.0]), np.array([0.0, got, 2.0])) == CLASH


def test_equal_nan_and_infinity_are_not_errors() -> None:
    expected = np.array([np.nan, np.inf, -np.inf, 3.0, 4.0])
    assert compare(expected, expected) == SAME
    actual = np.array([np.nan, np.inf, -np.inf, 3.0, 4.5])
    assert numbers(compare(expected, actual)) == pytest.approx((0.5, 0.1, 27 / (5 * math.sqrt(29.25))))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: expected \(2, 3\), actual \(3, 2\)"):
        compare(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="shapes differ"):
        compare_regions(np.zeros((1, 1, 2, 3)), np.zeros((1, 1, 3, 2)))


def test_top1_is_the_share_of_rows_whose_largest_entry_is_the_same() -> None:
    expected = np.array([[1.0, 2.0, 0.0], [5.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    actual = np.array([[1.0, 2.5, 2.0], [5.0, 6.0, 0.0], [0.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    assert compare(expected, actual).top1 == 0.75
    assert compare(expected, expected).top1 == 1.0
    assert compare(expected[:2], actual[:2]).top1 == 0.5
    assert compare(expected[:, :2], actual[:, :2]).top1 == 0.75  # two classes are enough
    spoilt = actual.copy()
    spoilt[3, 0] = np.nan
    assert compare(expected, spoilt) == Difference(math.inf, math.inf, 0.0, 0.5)


@pytest.mark.parametrize("shape", [(), (5,), (4, 1), (0, 5), (2, 3, 4), (1, 2, 3, 3)])
def test_top1_needs_a_class_axis(shape: tuple[int, ...]) -> None:
    assert compare(np.ones(shape), np.ones(shape)).top1 is None


def test_a_difference_is_plain_values() -> None:
    assert compare(np.array([3.0, 4.0]), np.array([3.0, 4.0])).as_dict() == {
        "max_abs": 0.0,
        "relative_l2": 0.0,
        "cosine": 1.0,
        "top1": None,
        "top5": None,
        "worst": None,
        "snr_db": math.inf,
    }
    apart = compare(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])).as_dict()
    assert apart["worst"] == {"index": (0, 1), "expected": 4.0, "actual": 4.5}
    assert apart["snr_db"] == pytest.approx(20)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 3, 5, 7)])
def test_signal_to_noise(shape: tuple[int, ...]) -> None:
    expected, actual = pair(shape, "float64")
    noise = ((actual - expected) ** 2).sum()
    assert compare(expected, actual).snr_db == pytest.approx(10 * math.log10((expected**2).sum() / noise))


def test_signal_to_noise_at_its_ends() -> None:
    assert compare(np.ones(3), np.ones(3)).snr_db == math.inf
    assert compare(np.zeros(3), np.ones(3)).snr_db == -math.inf
    assert CLASH.snr_db == -math.inf


def test_top5_is_the_share_of_the_five_largest_that_both_have() -> None:
    expected = np.array([[9.0, 8, 7, 6, 5, 4, 3, 2], [1.0, 2, 3, 4, 5, 6, 7, 8]])
    actual = expected.copy()
    assert compare(expected, actual).top5 == 1.0
    actual[0, :2] = 8.0, 9.0  # the same five in another order
    assert (compare(expected, actual).top1, compare(expected, actual).top5) == (0.5, 1.0)
    actual[1, 3] = 2.5  # the fifth largest of the second row, now behind the sixth
    assert compare(expected, actual).top5 == pytest.approx((5 + 4) / 10)
    assert compare(expected[:, :5], actual[:, :5]).top5 is None  # five of five always agree
    assert compare(expected[:, :6], actual[:, :6]).top5 is not None


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)])
@pytest.mark.parametrize("error", [0.5, -0.5, np.nan, np.inf])
def test_the_worst_element_is_found(shape: tuple[int, ...], error: float) -> None:
    expected, actual = (np.array(side) for side in pair(shape, "float64"))
    index = tuple(size - 1 - (size > 2) for size in shape)
    actual[index] = expected[index] + error
    worst = compare(expected, actual).worst
    assert worst is not None
    assert (worst.index, worst.expected) == (index, expected[index])
    np.testing.assert_equal(worst.actual, actual[index])


def test_equal_tensors_have_no_worst_element() -> None:
    spoilt = np.array([np.nan, np.inf, 1.0])
    assert compare(spoilt, spoilt).worst is None
    assert compare_regions(np.zeros((0, 3, 4, 4)), np.zeros((0, 3, 4, 4)))[0].worst is None


@pytest.mark.parametrize("border", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (2, 6), (3, 3), (4, 7), (8, 5)])
def test_masks_agree_with_loops(size: tuple[int, int], border: int) -> None:
    masks = region_masks(size, border)
    assert tuple(masks) == REGIONS
    for row in range(size[0]):
        for column in range(size[1]):
            here = [name for name, mask in masks.items() if mask[row, column]]
            assert here == [region_of(row, column, *size, border)]


@pytest.mark.parametrize("border", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 4, 4), (3, 2, 1, 6), (2, 2, 2, 2), (1, 1, 1, 1), (4, 2, 3, 1)])
def test_regions_agree_with_loops(shape: tuple[int, int, int, int], border: int) -> None:
    expected, actual = pair(shape, "float64")
    expected[:, :, 0, 0] *= 5  # the corners carry more than their share, so that other regions use the floor
    whole, regions = compare_regions(expected, actual, border)
    assert numbers(whole) == pytest.approx(naive(expected, actual), rel=1e-12)
    pixels: dict[str, list[tuple[int, int]]] = {}
    for row in range(shape[2]):
        for column in range(shape[3]):
            pixels.setdefault(region_of(row, column, *shape[2:], border), []).append((row, column))
    assert list(regions) == [name for name in REGIONS if name in pixels]
    for name, places in pixels.items():
        rows, columns = zip(*places, strict=True)
        floor = math.sqrt(float((expected**2).sum()) / (shape[2] * shape[3]) * len(places))
        wanted = naive(expected[:, :, rows, columns], actual[:, :, rows, columns], floor)
        assert numbers(regions[name]) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("size", "present"),
    [((1, 1), ["corner"]), ((2, 2), ["corner"]), ((1, 4), ["corner", "edge"]), ((3, 3), list(REGIONS))],
)
def test_small_planes_have_no_interior(size: tuple[int, int], present: list[str]) -> None:
    plane = np.ones((2, 3, *size))
    whole, regions = compare_regions(plane, plane)
    assert list(regions) == present
    assert {whole, *regions.values()} == {SAME}


PLACES = {"corner": [(0, 0), (0, 6), (4, 0), (4, 6)], "edge": [(0, 3), (4, 1), (2, 0), (2, 6)], "interior": [(2, 3)]}


@pytest.mark.parametrize(("region", "place"), [(name, place) for name, places in PLACES.items() for place in places])
@pytest.mark.parametrize("error", [0.5, np.nan, np.inf])
def test_a_planted_error_shows_in_its_region_only(region: str, place: tuple[int, int], error: float) -> None:
    expected, _ = pair((2, 3, 5, 7), "float64")
    actual = expected.copy()
    actual[1, 2, place[0], place[1]] += error
    whole, regions = compare_regions(expected, actual)
    assert list(regions) == list(REGIONS)
    for name, found in regions.items():
        if name != region:
            assert numbers(found) == (0.0, 0.0, pytest.approx(1.0))
    hit = regions[region]
    assert hit.worst.index == whole.worst.index == (1, 2, *place)
    assert all(region_of(*found.worst.index[2:], 5, 7, 1) == name for name, found in regions.items() if found.worst)
    if np.isfinite(error):
        assert hit.max_abs == whole.max_abs == pytest.approx(0.5)
        assert hit.relative_l2 > whole.relative_l2 > 0
        assert hit.cosine < whole.cosine < 1
    else:
        assert hit == whole == CLASH


def test_a_wider_border_takes_more_of_the_image() -> None:
    expected, _ = pair((1, 1, 6, 6))
    actual = expected.copy()
    actual[0, 0, 1, 3] += 1
    assert compare_regions(expected, actual, border=1)[1]["interior"].max_abs == pytest.approx(1)
    regions = compare_regions(expected, actual, border=2)[1]
    assert regions["edge"].max_abs == pytest.approx(1)
    assert regions["interior"].max_abs == 0


def test_a_region_of_zeros_is_not_infinitely_wrong() -> None:
    """Divided by the norm that the region would have at the tensor's mean energy: here 1 a pixel, 4 corners."""
    expected = np.ones((1, 1, 4, 4))
    expected[0, 0, ::3, ::3] = 0
    expected[0, 0, 1:3, 1:3] = math.sqrt(2)
    actual = expected.copy()
    actual[0, 0, 0, 0] = 1e-3
    _, regions = compare_regions(expected, actual)
    assert numbers(regions["corner"]) == pytest.approx((1e-3, 1e-3 / 2, 0.0))


def test_zeros_everywhere() -> None:
    zeros, ones = np.zeros((1, 2, 3, 3)), np.ones((1, 2, 3, 3))
    whole, regions = compare_regions(zeros, zeros)
    assert {whole, *regions.values()} == {SAME}
    whole, regions = compare_regions(zeros, ones)
    assert {whole, *regions.values()} == {Difference(1.0, math.inf, 0.0)}


def test_no_rows_and_no_channels() -> None:
    empty = np.zeros((0, 3, 4, 4))
    whole, regions = compare_regions(empty, empty)
    assert {whole, *regions.values()} == {SAME}
    assert compare_regions(np.zeros((1, 1, 0, 4)), np.zeros((1, 1, 0, 4))) == (SAME, {})
