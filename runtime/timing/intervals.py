"""Is one model slower than another? An interval that keeps its promise with few, noisy, dependent measurements.

Two processes of the very same model differ by a per cent or so for as long as they live (memory layout, placement
of threads), and neighbouring rounds share what else the machine does. So the unit is the launch: a fresh process
for each model, timed in turns. A launch gives one number, the median over its rounds of log(time / base's time);
whatever its rounds have in common stays inside it.

The interval over launches is the wild cluster bootstrap with Rademacher signs (Cameron, Gelbach & Miller, 2008), all
2^K sign patterns of K launches, inverted. Its ends are order statistics of the means of all subsets of launches
(Hartigan's typical values, 1969): they hold with the stated probability for any symmetric noise, and comparing a
model with itself is symmetric whatever the noise, because the order within a round is drawn by lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
#: With fewer launches no such interval reaches 95 %: 2 / 2^5 is more than 5 %.
LEAST_LAUNCHES = 6
#: 2^16 subset means take some milliseconds; a longer list of launches is averaged in neighbouring groups.
MOST_LAUNCHES = 16

SLOWER, FASTER, NO_DIFFERENCE = "slower", "faster", "no difference"


@dataclass(frozen=True)
class Interval:
    """A ratio of times and the ends of its interval, all positive."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "slower" or "faster" where the whole interval lies beyond 1, otherwise "no difference"."""
        return SLOWER if self.low > 1 else FASTER if self.high < 1 else NO_DIFFERENCE


def ratio_interval(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]], level: float = LEVEL) -> Interval:
    """Interval of time / base's time.

    times, base   for each launch, the time of each of its rounds; round i of one was measured beside round i of
                  the other

    Raises ValueError for fewer than LEAST_LAUNCHES launches.
    """
    centres = np.array([np.median(np.log(np.divide(mine, theirs))) for mine, theirs in zip(times, base, strict=True)])
    low, high = mean_interval(centres, level)
    return Interval(*(float(value) for value in np.exp((centres.mean(), low, high))))


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Interval of the centre of a few independent values [K], of which only symmetry is assumed."""
    if len(values) < LEAST_LAUNCHES:
        raise ValueError(f"{len(values)} launches; an interval of {level:.0%} takes {LEAST_LAUNCHES}")
    if len(values) > MOST_LAUNCHES:
        values = np.array([group.mean() for group in np.array_split(values, MOST_LAUNCHES)])
    means = np.sort(_subset_means(values))
    # Each of the 2^K gaps between subset means holds the centre with equal probability; cut off an equal
    # number on either side, as many as 1 - level allows.
    cut = int((1 - level) / 2 * 2 ** len(values) + 1e-9)
    return float(means[cut - 1]), float(means[-cut])


def _subset_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of all subsets but the empty one. [2^K - 1]."""
    members = (np.arange(1, 2 ** len(values))[:, None] >> np.arange(len(values))) & 1
    means: NDArray[np.float64] = members @ values / members.sum(axis=1)
    return means
