"""The interval has its stated coverage on simulated noise, and detects real differences."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.runtime.timing.intervals import (
    FASTER,
    LEAST_LAUNCHES,
    MOST_LAUNCHES,
    NO_DIFFERENCE,
    SLOWER,
    Interval,
    mean_interval,
    ratio_interval,
)


def autocorrelated(rng, launches, rounds, correlation, spread):
    """AR(1) noise within each launch. [launches, rounds]."""
    noise = rng.standard_normal((launches, rounds)) * spread * np.sqrt(1 - correlation**2)
    noise[:, 0] = rng.standard_normal(launches) * spread
    for index in range(1, rounds):
        noise[:, index] += correlation * noise[:, index - 1]
    return noise


def contest(rng, launches, slowdown=1.0, luck=0.01, correlation=0.9, spread=0.03):
    """Seconds of two models: with variation for each launch, noise for each round, and a few interruptions."""
    times = []
    for factor in (slowdown, 1.0):
        log = autocorrelated(rng, launches, 20, correlation, spread) + rng.standard_normal((launches, 1)) * luck
        times.append(0.01 * factor * np.exp(log + (rng.random(log.shape) < 0.02) * 2.0))
    return times


def share(verdict, launches, repetitions=300, **options):
    rng = np.random.default_rng(5)
    found = [ratio_interval(*contest(rng, launches, **options)).verdict for _ in range(repetitions)]
    return found.count(verdict) / repetitions


@pytest.mark.parametrize("launches", [6, 10, 13])
def test_equal_models_are_told_apart_in_at_most_five_per_cent(launches):
    # 5 % of 300 is 15 ± 3.8; 8 % would be more than two and a half deviations above
    assert 1 - share(NO_DIFFERENCE, launches) <= 0.08


@pytest.mark.parametrize(("correlation", "luck"), [(0.0, 0.03), (0.99, 0.0)])
def test_neither_luck_nor_correlation_fools_it(correlation, luck):
    assert 1 - share(NO_DIFFERENCE, 10, correlation=correlation, luck=luck) <= 0.08


@pytest.mark.parametrize(("slowdown", "verdict"), [(1.05, SLOWER), (0.95, FASTER)])
def test_five_per_cent_are_found(slowdown, verdict):
    assert share(verdict, 10, slowdown=slowdown, luck=0.01, correlation=0.5, spread=0.02) >= 0.95


def test_the_true_ratio_lies_inside_as_often_as_promised():
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(400):
        found = ratio_interval(*contest(rng, 10, slowdown=1.3))
        inside += found.low <= 1.3 <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_six_launches_give_the_extremes_and_fewer_nothing():
    values = np.array([0.3, -0.1, 0.2, 0.05, 0.0, 0.1])
    assert mean_interval(values, 0.95) == (-0.1, 0.3)  # 2 of 64 gaps are cut off, one a side
    with pytest.raises(ValueError, match="5 launches"):
        mean_interval(values[:5])
    assert LEAST_LAUNCHES == 6


def test_more_launches_give_a_narrower_interval():
    rng = np.random.default_rng(0)
    widths = []
    for count in (6, 10, MOST_LAUNCHES, 5 * MOST_LAUNCHES):
        found = [np.subtract(*mean_interval(rng.standard_normal(count))[::-1]) for _ in range(15)]
        widths.append(np.mean(found))
    assert widths == sorted(widths, reverse=True)


def test_a_round_is_compared_with_its_neighbour():
    """Both models slow down together, by far more than they differ; sometimes one is interrupted."""
    drift = np.exp(np.linspace(0, 2, 80)).reshape(8, 10)
    times = 1.02 * drift
    times[:, :4] *= 3
    found = ratio_interval(times, drift)
    assert found.low == pytest.approx(1.02) and found.high == pytest.approx(1.02)
    assert found.verdict == SLOWER


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 1.1, NO_DIFFERENCE), (1.001, 1.1, SLOWER), (0.9, 0.999, FASTER), (1.0, 1.1, NO_DIFFERENCE)],
)
def test_the_whole_interval_decides(low, high, verdict):
    assert Interval(1.0, low, high).verdict == verdict
