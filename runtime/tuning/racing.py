"""Successive halving with confidence intervals: which of many contestants is fastest, without timing all of them long.

Given    contestants, the measure of a wave of calls (its seconds, or its seconds by item), a time limit
Result   the fastest, and those that cannot be told from it
Not when the time is up first: then the intervals say what is left open

First every contestant is timed in one launch; those of the slower half that are much slower than the best go (Karnin,
Koren & Somekh, 2013, ICML, halve the field in every round). Then the rest race over whole launches
(rectexport.runtime.timing.stopwatch): a contestant whose interval of the ratio to the best lies above 1 goes, and the
race goes on, each round as long as all before it, until every other one is known to be within MARGIN of the best.

Contestants are raced in groups that fit in memory; the best one so far is in every group, because only times from the
same rounds can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rectexport.runtime.timing.intervals import LEAST_LAUNCHES, Interval, ratio_interval
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, Timing, race

#: Contestants that are known to differ by less than this are taken for equally fast.
MARGIN = 1.03
#: In the first round, those that take more than this many times the best are out.
FAR = 1.25
#: Most contestants in memory at the same time.
GROUP = 6
FIRST_SECONDS, NEXT_SECONDS, WARM_UP = 0.25, 0.3, 0.1

Refuse = Callable[[str, Sequence[float]], str]
Stopwatch = Callable[[Sequence[Contestant], Race], Mapping[str, Timing]]


@dataclass(frozen=True)
class Entry:
    """A contestant; scale turns the seconds of one wave of calls into the measure: 1, or 1 / items."""

    contestant: Contestant
    scale: float = 1.0

    @property
    def name(self) -> str:
        """Of the contestant."""
        return self.contestant.name


@dataclass
class Standing:
    """The race so far.

    rounds   for each contestant the seconds of each round, by launch; launches of different contestants that were
             timed together have the same place
    samples  seconds of single waves
    out      why a contestant is out: slower than another
    refused  why a contestant is out although it may be the fastest
    """

    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    separated: bool = False

    def left(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are not out."""
        return [entry for entry in entries if entry.name not in self.out and entry.name not in self.refused]


@dataclass(frozen=True)
class Limits:
    """until: a moment of `clock` at which no further round begins; seed: of the order in the rounds."""

    until: float
    seed: int = 0
    clock: Callable[[], float] = time.monotonic


def run_race(
    entries: Sequence[Entry],
    limits: Limits,
    told: Callable[[Standing], None] = lambda standing: None,
    stopwatch: Stopwatch = race,
    standing: Standing | None = None,
    refuse: Refuse = lambda name, samples: "",
) -> Standing:
    """Race until one is known to be fastest, or the time is up; at least one round, which intervals take.

    told       called after every round
    standing   of an earlier race that was interrupted, to be continued
    refuse     from a name and the seconds of its waves so far to why it may not win; empty if it may

    Raises what a timing process raises that cannot load or run its model.
    """
    found = standing or Standing()
    if not any(found.rounds.values()):
        _first_round(entries, found, limits, stopwatch, refuse)
        told(found)
    number = 0
    while not number or limits.clock() < limits.until:
        left = found.left(entries)
        if not left and found.out:  # those that were faster may not win after all
            found.out.clear()
            left = found.left(entries)
        if len(left) < 2 or found.separated:
            found.separated = True
            break
        number += 1
        _next_round(left, found, limits, number, stopwatch)
        _refuse(left, found, refuse)
        told(found)
    return found


def best_of(entries: Sequence[Entry], standing: Standing) -> Entry:
    """The fastest among those that are not out. Some must be left."""
    left = standing.left(entries)
    found = compared(left, standing)
    return min(left, key=lambda entry: found[entry.name])


def compared(entries: Sequence[Entry], standing: Standing) -> dict[str, float]:
    """The measure of each over that of one of them: the median over launches that both were in.

    That one has the most launches: the best so far is timed with every group. Launches of another group do not count,
    because minutes differ more than contestants. Two that shared no launch yet are compared by the median of all waves.
    One bad launch does not move a median, as it moves the ratio of an interval.
    """
    middles = {entry.name: float(np.median(standing.samples[entry.name])) * entry.scale for entry in entries}
    base = max(entries, key=lambda entry: (sum(map(bool, standing.rounds[entry.name])), -middles[entry.name]))
    found = {}
    for entry in entries:
        pairs = _shared(entry, base, standing)
        ratios = [np.median(mine) * entry.scale / (np.median(theirs) * base.scale) for mine, theirs in pairs]
        found[entry.name] = float(np.median(ratios)) if ratios else middles[entry.name] / middles[base.name]
    return found


def against(entry: Entry, base: Entry, standing: Standing) -> Interval | None:
    """The interval of the ratio of two measures from launches that both were in; None with too few of them."""
    pairs = _shared(entry, base, standing)
    if len(pairs) < LEAST_LAUNCHES:
        return None
    scaled = [[value * entry.scale for value in mine] for mine, _ in pairs]
    return ratio_interval(scaled, [[value * base.scale for value in theirs] for _, theirs in pairs])


def _shared(entry: Entry, base: Entry, standing: Standing) -> list[tuple[list[float], list[float]]]:
    """The seconds of both by round, for each launch that they were timed in together."""
    both = zip(standing.rounds[entry.name], standing.rounds[base.name], strict=False)
    return [(mine, theirs) for mine, theirs in both if mine and len(mine) == len(theirs)]


def _refuse(entries: Sequence[Entry], found: Standing, refuse: Refuse) -> None:
    reasons = {entry.name: refuse(entry.name, found.samples[entry.name]) for entry in entries}
    found.refused.update({name: reason for name, reason in reasons.items() if reason})


def _first_round(
    entries: Sequence[Entry], found: Standing, limits: Limits, stopwatch: Stopwatch, refuse: Refuse
) -> None:
    """One launch of each, in groups; those of the slower half that are far slower are out.

    Launches of several groups have nothing in common, so only their samples are kept.
    """
    medians: dict[str, float] = {}
    for group in _groups(list(entries)):
        timed = stopwatch(
            [entry.contestant for entry in group], Race(FIRST_SECONDS, WARM_UP, launches=1, seed=limits.seed)
        )
        for entry in group:
            timing = timed[entry.name]
            found.rounds[entry.name] = [list(timing.rounds)]
            found.samples[entry.name] = list(timing.samples)
            medians[entry.name] = timing.median * entry.scale
    _refuse(entries, found, refuse)
    medians = {name: value for name, value in medians.items() if name not in found.refused}
    ordered = sorted(medians, key=lambda name: medians[name])
    for name in ordered[max(len(ordered) // 2, 1) :]:
        ratio = medians[name] / medians[ordered[0]]
        if ratio > FAR:
            found.out[name] = f"{ratio:.2f} × the fastest in the first round"
    for rounds in found.rounds.values():
        rounds[:] = rounds if len(entries) <= GROUP else [[]]


def _next_round(left: Sequence[Entry], found: Standing, limits: Limits, number: int, stopwatch: Stopwatch) -> None:
    """LEAST_LAUNCHES more launches of all that are left; then drop those that are known to be slower."""
    how = Race(NEXT_SECONDS * 2 ** (number - 1), WARM_UP, LEAST_LAUNCHES, seed=limits.seed + number)
    best = best_of(left, found)
    others = [entry for entry in left if entry is not best]
    separated = True
    for group in _groups(others, GROUP - 1):
        place = max(len(rounds) for rounds in found.rounds.values())
        timed = stopwatch([entry.contestant for entry in (best, *group)], how)
        for entry in (best, *group):
            rounds = found.rounds[entry.name]
            rounds.extend([[]] * (place - len(rounds)))
            rounds.extend(timed[entry.name].by_launch())
            found.samples[entry.name].extend(timed[entry.name].samples)
        for entry in group:
            separated &= _judge(entry, best, found)
    found.separated = separated


def _judge(entry: Entry, best: Entry, found: Standing) -> bool:
    """Drop a contestant that is slower for certain; returns whether the two are told apart, or are as good as equal."""
    interval = against(entry, best, found)
    if interval is None:
        return False
    if interval.low > 1:
        found.out[entry.name] = (
            f"{interval.ratio:.3f} × the fastest (95 % interval {interval.low:.3f} – {interval.high:.3f})"
        )
        return True
    return interval.low > 1 / MARGIN and interval.high < MARGIN


def _groups(entries: Sequence[Entry], size: int = GROUP) -> list[Sequence[Entry]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]
