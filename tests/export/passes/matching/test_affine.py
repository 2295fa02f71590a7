"""Runs of pixelwise steps behind a convolution, and whether they are a rectification."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rectexport.exporter.passes.matching.affine import Fit, Line, fit
from rectexport.exporter.passes.matching.window import Window

COUNTS = np.multiply.outer(np.arange(4.0), np.arange(4.0))
BIAS = np.array([0.5, -2.0])
CHANNELS = np.array([3.0, 0.25])
NUMPY = {"Mul": np.multiply, "Sub": np.subtract, "Div": np.divide, "Add": np.add}


def tables(empty: bool = False) -> SimpleNamespace:
    """The counts of a 3 x 3 window, as TapTables has them; with windows that have no tap if `empty`."""
    reachable = np.ones((4, 4), np.bool_)
    if not empty:
        reachable[0] = reachable[:, 0] = False
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    return SimpleNamespace(window=window, reachable=reachable, counts=lambda: COUNTS)


def factors(numerator: float) -> np.ndarray:
    """r of every class, 0 where there is no tap. [4, 4, 1]."""
    return np.where(COUNTS > 0, numerator / np.maximum(COUNTS, 1), 0)[..., None]


def per_channel(values) -> np.ndarray:
    return np.reshape(values, (1, 1, -1))


def steps(bias, *operations) -> Line:
    line = Line.start(np.asarray(bias, np.float64))
    for operator, table in operations:
        line = line.step(operator, np.asarray(table, np.float64))
    return line


def check(found: Fit, numerator, gain, inside, after, empty_bias=True) -> None:
    assert (found.numerator, found.empty_bias) == (numerator, empty_bias)
    np.testing.assert_allclose(np.broadcast_to(found.gain, 2), np.broadcast_to(gain, 2))
    np.testing.assert_allclose(np.broadcast_to(found.after, 2), np.broadcast_to(after, 2), atol=1e-12)
    if inside is None:
        assert found.inside is None
    else:
        np.testing.assert_allclose(found.inside, inside)


def test_steps_follow_the_arithmetic():
    """Wx * gain * scale + shift is what the steps do to Wx, at any pixel."""
    values, table = np.array([1.5, -0.75]), factors(9)
    operations = [("Mul", per_channel(CHANNELS)), ("Sub", per_channel(BIAS)), ("Div", table + 1), ("Add", table)]
    line = steps(BIAS, *operations)
    expected = per_channel(values + BIAS)
    for operator, operand in operations:
        expected = NUMPY[operator](expected, operand)
    np.testing.assert_allclose(per_channel(values) * line.gain * line.scale + line.shift, expected)
    np.testing.assert_allclose(line.gain, CHANNELS)


def test_a_batch_norm_is_a_gain_and_a_shift():
    line = steps(BIAS, ("Mul", factors(9))).norm(CHANNELS, BIAS)
    np.testing.assert_allclose(line.gain, CHANNELS)
    np.testing.assert_allclose(line.shift, factors(9) * per_channel(BIAS * CHANNELS) + per_channel(BIAS))
    np.testing.assert_allclose(line.scale, factors(9))


@pytest.mark.parametrize("numerator", [9, 1])
def test_the_bias_stands_inside_after_or_on_both_sides(numerator):
    r, zero = ("Mul", factors(numerator)), np.zeros(1)
    check(fit(steps([0.0], r), tables(), zero), numerator, 1, None, 0)
    check(fit(steps(BIAS, r), tables(), BIAS), numerator, 1, BIAS, 0)
    check(fit(steps([0.0], r, ("Add", per_channel(BIAS))), tables(), zero), numerator, 1, None, BIAS)
    both = steps(BIAS, r, ("Add", per_channel(CHANNELS)))
    check(fit(both, tables(), BIAS), numerator, 1, BIAS, CHANNELS)


def test_the_bias_of_the_convolution_is_kept_bit_by_bit():
    bias = np.random.default_rng(0).standard_normal(50)
    found = fit(steps(bias, ("Mul", factors(9))), tables(), bias)
    np.testing.assert_array_equal(found.inside, bias)
    assert not np.any(found.after)


def test_a_scale_per_channel_goes_into_the_weights():
    line = steps(BIAS, ("Mul", per_channel(CHANNELS)), ("Mul", factors(9)))
    check(fit(line, tables(), BIAS), 9, CHANNELS, BIAS * CHANNELS, 0)


def off(row: int, column: int) -> np.ndarray:
    changed = factors(9)
    changed[row, column] *= 1 + 1e-5
    return changed


@pytest.mark.parametrize("table", [off(3, 3), off(1, 2), factors(8), factors(9) ** 2, np.ones((4, 4, 1))])
def test_other_factors_are_refused(table):
    found = fit(steps([0.0], ("Mul", table)), tables(), np.zeros(1))
    assert isinstance(found, str) and "no r of this convolution" in found


def test_the_refusal_names_the_worst_count():
    found = fit(steps([0.0], ("Mul", np.ones((4, 4, 1)))), tables(), np.zeros(1))
    assert found == "the factor is no r of this convolution: 1 at 1 of 9 taps, r is 9"


def test_a_shift_that_varies_otherwise_is_refused():
    line = steps([0.0], ("Mul", factors(9)), ("Add", factors(9) ** 2))
    assert "neither a bias inside nor one after" in fit(line, tables(), np.zeros(1))


@pytest.mark.parametrize(
    ("mask", "empty_bias", "reason"),
    [
        (np.ones_like(COUNTS), True, None),
        (COUNTS > 0, False, None),
        (np.where(COUNTS > 0, 1, 2), None, "neither the bias nor zero"),
    ],
)
def test_windows_without_a_tap_keep_the_bias_or_give_zero(mask, empty_bias, reason):
    line = steps([0.0], ("Mul", factors(9)), ("Add", per_channel(BIAS)), ("Mul", np.asarray(mask)[..., None]))
    found = fit(line, tables(empty=True), np.zeros(1))
    if reason:
        assert reason in found
    else:
        check(found, 9, 1, None, BIAS, empty_bias)


def test_a_division_by_no_tap_is_refused():
    line = steps([0.0], ("Div", COUNTS[..., None]), ("Mul", [[[9.0]]]))
    assert "infinite where a window lies in the padding alone" in fit(line, tables(empty=True), np.zeros(1))
    check(fit(line, tables(), np.zeros(1)), 9, 1, None, 0)
