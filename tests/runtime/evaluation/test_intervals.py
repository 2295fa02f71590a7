"""The intervals: against published figures, against simulation, and at their ends."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.runtime.evaluation.intervals import LEAST_ITEMS, bootstrap_difference, proportion_difference


def answers(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * both + [False] * gained + [True] * lost + [False] * neither
    second = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        # Tango (1998), table II: crossover trial of soft contact lenses, 43 0 1 0.
        ((43, 1, 0, 0), -0.0596, 0.1171),
        # No disagreement in n pairs: z^2 / (n + z^2) on both sides.
        ((90, 0, 0, 10), -0.0370, 0.0370),
    ],
)
def test_tangos_interval_has_the_published_ends(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    assert proportion_difference(*answers(*cells)) == pytest.approx((low, high), abs=1e-3)


def test_the_interval_turns_with_its_sides() -> None:
    first, second = answers(50, 7, 2, 11)
    low, high = proportion_difference(first, second)
    assert proportion_difference(second, first) == pytest.approx((-high, -low))
    assert low < 5 / 70 < high


def test_all_gained_or_all_lost_ends_at_one() -> None:
    assert proportion_difference(*answers(0, 8, 0, 0))[1] == 1
    assert proportion_difference(*answers(0, 0, 8, 0))[0] == -1


def test_tangos_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator, hits, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        draws = generator.choice(4, 120, p=(0.85, 0.03, 0.05, 0.07))
        low, high = proportion_difference((draws == 0) | (draws == 2), (draws == 0) | (draws == 1))
        hits += low <= -0.02 <= high
    assert 0.92 <= hits / runs <= 0.99


def test_the_bootstrap_covers_the_mean_difference() -> None:
    generator = np.random.default_rng(2)
    first = generator.normal(30, 5, (400, 1))
    second = first + generator.normal(-0.5, 1, (400, 1))
    found = bootstrap_difference(first, second, lambda means: means[:, 0])
    assert found is not None
    centre, half = float((second - first).mean()), 1.96 * float((second - first).std()) / 20
    assert found == pytest.approx((centre - half, centre + half), abs=0.02)
    assert found == bootstrap_difference(first, second, lambda means: means[:, 0])


def test_few_items_have_no_interval() -> None:
    few = np.zeros((LEAST_ITEMS - 1, 1))
    assert bootstrap_difference(few, few, lambda means: means[:, 0]) is None
