"""The race, against made-up contestants with known times: who wins, what is dropped, when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, Timing
from rectexport.runtime.tuning.racing import GROUP, Entry, Limits, Standing, against, best_of, compared, run_race


class World:
    """Times of contestants with noise of a launch and of a round; the clock goes on as they run."""

    def __init__(self, seconds: Mapping[str, float], noise: float = 0.01, seed: int = 0) -> None:
        self.seconds, self.noise, self.now = seconds, noise, 0.0
        self.rng = np.random.default_rng(seed)
        self.asked: list[list[str]] = []
        self.spent: dict[str, float] = dict.fromkeys(seconds, 0.0)

    def stopwatch(self, contestants: Sequence[Contestant], how: Race) -> dict[str, Timing]:
        self.asked.append([entry.name for entry in contestants])
        rounds = max(3, int(how.seconds / how.launches / 0.02))
        found = {}
        for entry in contestants:
            level = self.seconds[entry.name] * np.exp(self.noise * self.rng.standard_normal(how.launches))
            times = np.repeat(level, rounds) * np.exp(
                0.3 * self.noise * self.rng.standard_normal(how.launches * rounds)
            )
            launches = np.repeat(np.arange(how.launches), rounds)
            found[entry.name] = Timing(tuple(times), tuple(map(int, launches)), tuple(times))
            self.spent[entry.name] += how.seconds
        self.now += how.seconds * len(contestants)
        return found

    def race(self, seconds: float = 1e6, scale: Mapping[str, float] | None = None, **more: object) -> Standing:
        entries = self.entries(scale)
        return run_race(entries, Limits(seconds, clock=lambda: self.now), stopwatch=self.stopwatch, **more)  # type: ignore[arg-type]

    def entries(self, scale: Mapping[str, float] | None = None) -> list[Entry]:
        return [Entry(Contestant(name, {}), (scale or {}).get(name, 1.0)) for name in self.seconds]


@pytest.mark.parametrize("seed", range(5))
def test_the_fastest_of_many_wins_in_less_than_half_of_the_time_of_all(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    world = World({f"c{index}": float(value) for index, value in enumerate(rng.uniform(1.1, 4, 19))} | {"best": 1.0})
    standing = world.race()
    assert standing.separated
    left = [entry.name for entry in standing.left(world.entries())]
    assert best_of(world.entries(), standing).name == "best" and left == ["best"]
    longest = max(world.spent.values())
    assert sum(world.spent.values()) < 0.5 * longest * len(world.spent)


def test_equal_contestants_end_the_race_together() -> None:
    world = World({"a": 1.0, "b": 1.0, "c": 2.0})
    standing = world.race()
    assert standing.separated and "c" in standing.out
    assert {entry.name for entry in standing.left(world.entries())} == {"a", "b"}
    interval = against(world.entries()[0], world.entries()[1], standing)
    assert interval is not None and 1 / 1.03 < interval.low < 1 < interval.high < 1.03


def test_a_race_that_has_no_time_runs_one_round() -> None:
    world = World({"a": 1.0, "b": 1.01}, noise=0.2)
    standing = world.race(seconds=0.0)
    assert len(world.asked) == 2 and not standing.separated


def test_groups_have_the_best_in_common() -> None:
    world = World({f"c{index}": 1 + index / 100 for index in range(3 * GROUP)})
    standing = world.race(seconds=0.0)
    later = world.asked[3:]
    best = set(later[0]).intersection(*later)
    assert len(best) == 1 and all(len(group) <= GROUP for group in world.asked)
    entries = {entry.name: entry for entry in world.entries()}
    assert all(
        against(entries[name], entries[next(iter(best))], standing) is not None
        for name in later[-1]
        if name not in best
    )


def test_launches_of_a_faster_minute_do_not_make_a_contestant_better() -> None:
    """The best of the first group ran with the second one, too, when the machine was twice as fast."""
    launches = {"first": [1.0] * 6 + [0.5] * 6, "near": [0.97] * 6, "far": [None] * 6 + [0.6] * 6}
    standing = Standing(
        {name: [[value] * 3 if value else [] for value in values] for name, values in launches.items()},
        {name: [value for value in values if value] * 3 for name, values in launches.items()},
    )
    entries = World(dict.fromkeys(launches, 1.0)).entries()
    assert best_of(entries, standing).name == "near"
    assert compared(entries, standing) == pytest.approx({"first": 1.0, "near": 0.97, "far": 1.2})


def test_items_a_second_are_compared_by_scale() -> None:
    world = World({"batch 1": 1.0, "batch 8": 4.0})
    scale = {"batch 8": 1 / 8}
    standing = world.race(scale=scale)
    assert best_of(world.entries(scale), standing).name == "batch 8" and "batch 1" in standing.out


def test_who_may_not_win_is_out_and_the_next_best_wins() -> None:
    world = World({"fast": 1.0, "allowed": 1.5, "slow": 1.9})
    standing = world.race(refuse=lambda name, samples: "too large" if name == "fast" else "")
    assert standing.refused == {"fast": "too large"}
    assert best_of(world.entries(), standing).name == "allowed"


def test_those_that_lost_to_one_that_may_not_win_race_again() -> None:
    world = World({"fast": 1.0, "other": 1.2})

    def refuse(name: str, samples: Sequence[float]) -> str:
        return "too many slow calls" if name == "fast" and len(samples) > 20 else ""

    standing = world.race(refuse=refuse)
    assert "fast" in standing.refused
    assert [entry.name for entry in standing.left(world.entries())] == ["other"]


def test_an_interrupted_race_goes_on() -> None:
    world = World({"a": 1.0, "b": 1.02, "c": 1.3}, noise=0.05)
    kept: list[Standing] = []
    world.race(seconds=0.0, told=kept.append)
    rounds = len(world.asked)
    standing = world.race(standing=kept[-1])
    assert standing.separated and len(world.asked) > rounds
    assert "c" in standing.out
