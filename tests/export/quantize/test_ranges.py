"""Ranges by every method; none of them may cut off the border of a plane."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.quantize.parameters import S8, U8
from rectexport.exporter.quantize.ranges import Distribution, best_parameters


def distribution(values: np.ndarray) -> Distribution:
    found = Distribution()
    halves = np.array_split(values, 2)
    for half in halves:
        found.widen(half)
    for half in halves:
        found.count(half)
    return found


def error(values: np.ndarray, method: str, dtype: str) -> float:
    parameters = best_parameters(distribution(values), method, dtype)
    return float(np.square(parameters.rounded(values) - values).mean())


VALUES = np.random.default_rng(0).normal(size=20000)


def test_minmax_takes_the_whole_range() -> None:
    found = best_parameters(distribution(VALUES), "minmax", U8)
    assert (found.low, found.high) == (VALUES.min(), VALUES.max())
    assert best_parameters(distribution(VALUES), "minmax", S8).high == np.abs(VALUES).max()


@pytest.mark.parametrize("dtype", [U8, S8])
def test_mse_is_never_worse_than_minmax(dtype: str) -> None:
    heavy = np.concatenate([VALUES, [40.0, -35.0]])
    for values in (VALUES, heavy, np.maximum(VALUES, 0)):
        assert error(values, "mse", dtype) <= error(values, "minmax", dtype) * 1.001
    assert error(heavy, "mse", dtype) < 0.97 * error(heavy, "minmax", dtype)


def test_mse_keeps_a_border_that_a_percentile_would_cut() -> None:
    plane = np.maximum(np.random.default_rng(1).normal(1, 0.3, (50, 24, 24)), 0)
    plane[:, 0, 0] *= 2.25  # as rectification scales a corner
    found = best_parameters(distribution(plane.ravel()), "mse", U8)
    corner = plane[:, 0, 0]
    assert found.high > 0.9 * corner.max() > np.percentile(plane, 99.9)
    assert np.abs(found.rounded(corner) - corner).mean() < 0.01 * corner.mean()


def test_mse_weighs_corners_and_edges_as_much_as_a_large_interior() -> None:
    rng = np.random.default_rng(1)
    planes = np.maximum(rng.normal(0.3, 0.3, (4, 8, 80, 80)), 0)
    planes[:, :, 0, 0] = np.maximum(rng.normal(0.6, 0.9, (4, 8)), 0)  # values that few other pixels reach
    corner = planes[:, :, 0, 0]

    def lost(values: np.ndarray, whole: np.ndarray) -> float:
        parameters = best_parameters(distribution(whole), "mse", U8)
        return float(np.square(parameters.rounded(values) - values).sum() / np.square(values).sum())

    regardless = planes.reshape(4, -1)  # no places, as of tokens
    assert lost(corner, planes) < 0.1 * lost(corner, regardless)
    assert lost(planes, planes) < 4 * lost(planes, regardless)


def test_a_border_of_almost_zeros_takes_no_range_from_the_interior() -> None:
    planes = np.random.default_rng(1).normal(0, 1, (4, 8, 40, 40))
    planes[:, :, [0, -1]] *= 1e-4
    planes[:, :, :, [0, -1]] *= 1e-4
    interior = planes[:, :, 1:-1, 1:-1]
    framed, alone = (best_parameters(distribution(part), "mse", S8) for part in (planes, interior))
    assert framed.high == pytest.approx(alone.high, rel=0.1)


def test_tokens_and_planes_are_told_apart() -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, 6, 6))
    for planes, sizes in ((True, [2 * 3 * 4, 2 * 3 * 16, 2 * 3 * 16]), (False, [0, 0, 2 * 3 * 36])):
        found = Distribution(planes=planes)
        found.widen(values)
        found.count(values)
        assert list(found.sizes) == sizes and list(found.counts.sum(axis=1)) == sizes


def test_entropy_clips_a_long_tail_and_keeps_the_body() -> None:
    heavy = np.concatenate([VALUES, 30 + np.random.default_rng(2).normal(size=3)])
    found = best_parameters(distribution(heavy), "entropy", S8)
    assert 2.5 < found.high < 20


@pytest.mark.parametrize("method", ["mse", "minmax", "entropy"])
def test_constants_and_zeros_have_parameters(method: str) -> None:
    assert best_parameters(distribution(np.zeros(10)), method, U8).scale == 1
    found = best_parameters(distribution(np.full(10, 3.0)), method, U8)
    assert found.rounded(np.array([3.0]))[0] == pytest.approx(3, rel=0.01)


def test_means_of_channels_do_not_depend_on_the_batches() -> None:
    values = np.random.default_rng(4).normal(size=(7, 3, 5, 5)) + np.arange(3).reshape(3, 1, 1)
    whole, parts = Distribution(), Distribution()
    whole.widen(values)
    parts.widen(values[:5])
    parts.widen(values[5:])
    assert whole.mean is not None and parts.mean is not None
    assert whole.mean == pytest.approx(values.mean(axis=(0, 2, 3))) and parts.mean == pytest.approx(whole.mean)
    flat = Distribution()
    flat.widen(values.ravel())
    assert flat.mean is None
