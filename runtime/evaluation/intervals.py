"""95 % confidence intervals of the difference between two models that answered the same items.

Shares of right answers: the score interval of Tango (1998, Statistics in Medicine 17, 891-908) for paired
proportions. It is valid for few items too: no disagreement among N items does not give a width of zero.
All other metrics: percentiles of the paired bootstrap (Efron & Tibshirani, 1993), which draws whole items.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Two-sided 95 % quantile of the normal distribution.
_Z = 1.959963984540054
#: With fewer items the bootstrap's interval is too narrow to be used.
LEAST_ITEMS = 10
_DRAWS, _CHUNK, _SEED = 2000, 100, 0


def proportion_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float]:
    """The interval of mean(second) - mean(first) of paired answers [N], each right or wrong. Both ends in -1..1."""
    count = len(first)
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())

    def distance(difference: float) -> float:
        return abs(_score(gained, lost, count, difference)) - _Z

    centre = (gained - lost) / count
    return _root(distance, -1.0, centre), _root(distance, 1.0, centre)


def _score(gained: int, lost: int, count: int, difference: float) -> float:
    """Tango's statistic for the hypothesis that the difference is `difference`; normal under it."""
    a = 2 * count
    b = -gained - lost + (2 * count - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = count * (2 * share + difference * (1 - difference))
    above = gained - lost - count * difference
    return above / sqrt(variance) if variance > 0 else (0.0 if above == 0 else float("inf"))


def _root(function: Callable[[float], float], outside: float, inside: float) -> float:
    """Where the function is zero between a point where it is positive and one where it is negative."""
    if function(outside) <= 0:
        return outside
    for _ in range(60):
        middle = (outside + inside) / 2
        if function(middle) > 0:
            outside = middle
        else:
            inside = middle
    return inside


def bootstrap_difference(
    first: Values, second: Values, value: Callable[[Values], Values]
) -> tuple[float, float] | None:
    """The interval of value(mean of second) - value(mean of first); None with fewer than LEAST_ITEMS items.

    first, second  paired statistics of each item, [N, K]
    value          from mean statistics [R, K] to the metric [R]

    The draws are the same in every call.
    """
    count = len(first)
    if count < LEAST_ITEMS:
        return None
    generator, found = np.random.default_rng(_SEED), []
    for _ in range(_DRAWS // _CHUNK):
        weights = generator.multinomial(count, np.full(count, 1 / count), _CHUNK) / count
        found.append(value(weights @ second) - value(weights @ first))
    low, high = np.nanpercentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)
