"""Scales, zero points and integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rectexport.exporter.quantize.parameters import (
    EIGHT_BIT,
    S8,
    SEVEN_BIT,
    U8,
    mean_error,
    parameters_of,
    quantized_bias,
    quantized_weight,
    widened_scales,
)

ENDS = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@given(first=ENDS, second=ENDS, dtype=st.sampled_from([U8, S8]))
def test_zero_is_exact_and_the_range_within_half_a_step(first: float, second: float, dtype: str) -> None:
    low, high = sorted((first, second))
    found = parameters_of(low, high, dtype)
    assert found.rounded(np.zeros(1))[0] == 0
    assert 0 <= found.zero_point <= 255 and (dtype == U8 or found.zero_point == 0)
    values = np.linspace(min(low, 0), max(high, 0), 50)
    assert np.abs(found.rounded(values) - values).max() <= found.scale * 0.51 * (2 if dtype == U8 else 1)


def test_a_range_of_nothing_has_a_scale() -> None:
    assert parameters_of(0.0, 0.0, U8).scale == parameters_of(0.0, 0.0, S8).scale == 1.0


@pytest.mark.parametrize("largest", [EIGHT_BIT, SEVEN_BIT])
@pytest.mark.parametrize("axis", [0, 1])
def test_weights_have_a_scale_for_each_output(largest: int, axis: int) -> None:
    rng = np.random.default_rng(0)
    weight = np.moveaxis(rng.normal(size=(4, 30)) * np.array([[1e-3], [1], [50], [0]]), 0, axis)
    stored, scales = quantized_weight(weight, axis, largest)
    assert stored.dtype == np.int8 and np.abs(stored.astype(int)).max() <= largest
    back = stored * np.expand_dims(scales, 1 - axis)
    error = np.linalg.norm(np.moveaxis(back - weight, axis, 0)[:3], axis=1)
    size = np.linalg.norm(np.moveaxis(weight, axis, 0)[:3], axis=1)
    assert (error / size < 1.5 / largest).all() and not np.moveaxis(back, axis, 0)[3].any()


def test_an_outlier_is_clipped_where_that_costs_less() -> None:
    weight = np.concatenate([np.random.default_rng(1).normal(size=5000), [12.0]])[None]
    _, scales = quantized_weight(weight, 0, EIGHT_BIT)
    assert scales[0] < 12 / 127


def test_a_bias_fits_int32() -> None:
    bias = np.array([1e6, 1e-4])
    scales = widened_scales(np.full(2, 1e-6, np.float32), bias, 1e-5)
    assert scales[1] == np.float32(1e-6) and scales[0] > 1e-6
    units = (scales * np.float32(1e-5)).astype(np.float32)
    stored = quantized_bias(bias, units)
    assert np.abs(stored * units.astype(np.float64) - bias).max() < 1e-3


@pytest.mark.parametrize("groups", [1, 2])
def test_the_mean_error_is_what_a_convolution_of_the_means_gives(groups: int) -> None:
    rng = np.random.default_rng(2)
    error, mean = rng.normal(size=(4, 6 // groups, 3, 3)), rng.random(6)
    plane = np.broadcast_to(mean.reshape(6, 1, 1), (6, 3, 3))
    found = mean_error(error, error, 0, groups, mean)
    for output in range(4):
        first = (output * groups // 4) * (6 // groups)
        assert found[output] == pytest.approx((error[output] * plane[first : first + 6 // groups]).sum())


def test_the_mean_error_of_a_matrix_follows_its_axis() -> None:
    error, mean = np.random.default_rng(3).normal(size=(4, 6)), np.arange(6.0)
    assert mean_error(error, error, 0, 1, mean) == pytest.approx(error @ mean)
    assert mean_error(error.T, error.T, 1, 1, mean) == pytest.approx(error @ mean)
