"""The order of launches, rounds and bursts, with fake processes and a fake clock."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import LEAST_ROUNDS, Race, Timing, race


class Stage:
    """Fake processes that record their calls, and a clock that only they move."""

    def __init__(self, **speeds):
        self.speeds, self.now, self.events, self.live = speeds, 0.0, [], set()

    def clock(self):
        return self.now

    @contextmanager
    def start(self, contestant):
        self.events.append(("start", contestant.name))
        self.live.add(contestant.name)
        yield Player(self, contestant.name)
        self.events.append(("end", contestant.name))
        self.live.remove(contestant.name)


class Player:
    def __init__(self, stage, name):
        self.stage, self.name, self.said = stage, name, {"description": f"engine of {name}"}

    def wait_ready(self):
        self.stage.events.append(("ready", self.name))

    def burst(self, seconds):
        self.stage.events.append(("burst", self.name, seconds))
        self.stage.now += seconds
        return [self.stage.speeds[self.name]] * 4


def ran(stage, how, ticks=None):
    contestants = [Contestant(name, {}) for name in stage.speeds]
    return race(contestants, how, (ticks if ticks is not None else []).append, stage.start, stage.clock)


HOW = Race(seconds=2.0, warm_up=0.5, launches=4, burst=0.0625)


def test_every_launch_starts_new_processes_and_ends_them():
    stage, ticks = Stage(a=1.0, b=2.0, c=3.0), []
    times = ran(stage, HOW, ticks)
    counts = Counter((kind, name) for kind, name, *_ in stage.events if kind in ("start", "ready", "end"))
    assert set(counts.values()) == {4} and not stage.live
    assert ticks == [0, 1, 2, 3, 4]
    assert {name: entry.median for name, entry in times.items()} == stage.speeds
    assert times["b"].said == {"description": "engine of b"}


def test_all_are_warmed_up_before_any_is_timed():
    stage = Stage(a=1.0, b=2.0)
    ran(stage, HOW)
    bursts = [event for event in stage.events if event[0] in ("burst", "end")]
    launch = [event[2] for event in bursts[: bursts.index(next(e for e in bursts if e[0] == "end"))]]
    assert launch[:2] == [0.5, 0.5] and set(launch[2:]) == {0.0625}


def test_rounds_are_complete_and_in_random_order():
    stage = Stage(a=1.0, b=2.0, c=3.0)
    times = ran(stage, HOW)
    order = [event[1] for event in stage.events if event[0] == "burst" and event[2] == 0.0625]
    rounds = [tuple(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert all(sorted(entry) == ["a", "b", "c"] for entry in rounds)
    assert len(set(rounds)) == 6
    assert len(times["a"].rounds) == len(rounds) == 32  # 2 s of 62.5 ms each
    assert Counter(times["a"].launches) == dict.fromkeys(range(4), 8)
    assert len(times["a"].samples) == 4 * len(rounds)


def test_the_order_can_be_drawn_again():
    first, second, other = Stage(a=1.0, b=2.0), Stage(a=1.0, b=2.0), Stage(a=1.0, b=2.0)
    ran(first, HOW)
    ran(second, HOW)
    ran(other, Race(2.0, 0.5, 4, 0.0625, seed=1))
    assert first.events == second.events != other.events


def test_a_slow_model_still_gets_its_rounds():
    stage = Stage(a=1.0)
    times = ran(stage, Race(seconds=0.0, warm_up=0.0, launches=6, burst=1.0))
    assert Counter(times["a"].launches) == dict.fromkeys(range(6), LEAST_ROUNDS)


def test_an_interval_is_over_launches():
    rounds, launches = (1.0, 1.0, 3.0, 2.0, 2.0, 2.0) * 3, tuple(np.repeat(range(6), 3))
    mine, base = Timing(rounds, launches), Timing((1.0,) * 18, launches)
    assert mine.by_launch() == [[1.0, 1.0, 3.0], [2.0, 2.0, 2.0]] * 3
    found = mine.interval(base)
    assert (found.low, found.high) == (1.0, 2.0) and found.ratio == pytest.approx(2**0.5)
    with pytest.raises(ValueError, match="1 launches"):
        Timing((1.0,), (0,)).interval(Timing((1.0,), (0,)))
