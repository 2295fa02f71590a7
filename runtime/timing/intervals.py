"""A confidence interval for the ratio of two models' times, valid for few, noisy and dependent measurements.

Two processes of the same model differ by about 1 % for as long as they run (memory layout, placement of threads), and
neighbouring rounds share the machine's other load. So the unit is the launch: a new process for each model, timed in
turns. A launch gives one number, the median over its rounds of log(time / base's time); what its rounds have in common
does not make the interval too narrow.

The interval over launches inverts the wild cluster bootstrap with Rademacher signs (Cameron, Gelbach & Miller, 2008)
over all 2^K sign patterns of K launches. Its ends are order statistics of the means of all subsets of launches
(Hartigan's typical values, 1969). It has the stated coverage for any symmetric noise; the noise between a model and
itself is always symmetric, because the order within a round is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
#: With fewer launches no such interval reaches 95 %: 2 / 2^5 is more than 5 %.
LEAST_LAUNCHES = 6
#: 2^16 subset means take some milliseconds; more launches are averaged in groups of neighbours.
MOST_LAUNCHES = 16

SLOWER, FASTER, NO_DIFFERENCE = "slower", "faster", "no difference"


@dataclass(frozen=True)
class Interval:
    """A ratio of times and its confidence interval, all positive."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "slower" if the interval lies above 1, "faster" if below, otherwise "no difference"."""
        return SLOWER if self.low > 1 else FASTER if self.high < 1 else NO_DIFFERENCE


def ratio_interval(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]], level: float = LEVEL) -> Interval:
    """The interval of time / base's time.

    times, base   for each launch, the time of each round; round i of both was measured next to each other

    Raises ValueError for fewer than LEAST_LAUNCHES launches.
    """
    centres = np.array([np.median(np.log(np.divide(mine, theirs))) for mine, theirs in zip(times, base, strict=True)])
    low, high = mean_interval(centres, level)
    return Interval(*(float(value) for value in np.exp((centres.mean(), low, high))))


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The interval of the centre of K independent values [K], assumed to be symmetrically distributed.

    Raises ValueError for fewer than LEAST_LAUNCHES values.
    """
    if len(values) < LEAST_LAUNCHES:
        raise ValueError(f"{len(values)} launches; an interval of {level:.0%} takes {LEAST_LAUNCHES}")
    if len(values) > MOST_LAUNCHES:
        values = np.array([group.mean() for group in np.array_split(values, MOST_LAUNCHES)])
    means = np.sort(_subset_means(values))
    # Each of the 2^K gaps between subset means contains the centre with equal probability: cut off as many on
    # either side as 1 - level allows.
    cut = int((1 - level) / 2 * 2 ** len(values) + 1e-9)
    return float(means[cut - 1]), float(means[-cut])


def _subset_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of all non-empty subsets, [2^K - 1]."""
    members = (np.arange(1, 2 ** len(values))[:, None] >> np.arange(len(values))) & 1
    means: NDArray[np.float64] = members @ values / members.sum(axis=1)
    return means
