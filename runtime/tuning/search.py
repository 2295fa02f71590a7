"""Searches among candidates: proof, memory and accuracy of each first, then the race, then the choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rectexport.runtime.errors import RectexportError
from rectexport.runtime.evaluation.evaluate import Evaluation
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.process import ask
from rectexport.runtime.timing.inputs import timed_inputs
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import race
from rectexport.runtime.tuning.candidate import (
    PROVEN,
    REFUSED,
    SLOWER,
    WAITING,
    Candidate,
    Record,
    Space,
    Variant,
    candidates,
    simplicity,
)
from rectexport.runtime.tuning.choice import LATENCY, Bounds, breach, simplest
from rectexport.runtime.tuning.racing import (
    MARGIN,
    Entry,
    Limits,
    Standing,
    Stopwatch,
    against,
    compared,
    run_race,
)
from rectexport.runtime.tuning.state import State

TRIAL = "rectexport.runtime.tuning.trial"

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]
#: Accuracy of a variant on a backend, with its difference from the reference; None without data.
Evaluate = Callable[[Variant, str], Evaluation | None]
#: (step, done, total): told after every candidate that was tried and every round.
Tick = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Goal:
    """What is wanted.

    measure    LATENCY of a call, or THROUGHPUT in items a second
    bounds     of latency and memory
    max_drop   how much lower the metric may be than the reference's, in its unit; None: any, it is only shown
    """

    measure: str = LATENCY
    bounds: Bounds = field(default_factory=Bounds)
    max_drop: float | None = None


@dataclass(frozen=True)
class Found:
    """The end of a search. chosen is None where no candidate keeps the bounds; equal: those not told from the best."""

    candidates: Sequence[Candidate]
    records: Mapping[str, Record]
    chosen: Candidate | None
    reason: str
    equal: Sequence[Candidate]
    separated: bool


def nothing(step: str, done: int, total: int) -> None:
    """Ignore progress."""


@dataclass
class Search:
    """One search; its state is saved after every step. The last four are for tests."""

    variants: Sequence[Variant]
    space: Space
    goal: Goal
    state: State
    seconds: float
    seed: int = 0
    evaluate: Evaluate = lambda variant, backend: None
    tick: Tick = nothing
    asked: Ask = ask
    stopwatch: Stopwatch = race
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Found:
        """Search until the fastest is known, or the time is up."""
        begin = self.clock()
        entries = self.entries()
        for candidate in entries:
            self.state.records.setdefault(candidate.key, Record())
        self._try_all(entries)
        self._judge_accuracy(entries)
        proven = [entry for entry in entries if self._record(entry).state == PROVEN]
        if proven:
            self._race(proven, begin + self.seconds - self.state.spent)
        self.state.spent += self.clock() - begin
        self.state.save()
        return self._found(entries, proven)

    def entries(self) -> list[Candidate]:
        """Every candidate, in a fixed order; with a goal of latency, only the smallest batch."""
        batches = self.space.batches if self.goal.measure != LATENCY else (min(self.space.batches),)
        return candidates(self.variants, replace(self.space, batches=batches))

    def variant(self, candidate: Candidate) -> Variant:
        """The candidate's variant."""
        return next(variant for variant in self.variants if variant.name == candidate.variant)

    def _record(self, candidate: Candidate) -> Record:
        return self.state.records[candidate.key]

    def _try_all(self, entries: Sequence[Candidate]) -> None:
        """Prove each in a process of its own, and note its memory."""
        for number, candidate in enumerate(entries):
            record = self._record(candidate)
            if record.state != WAITING:
                continue
            self.tick("prove", number, len(entries))
            try:
                answer = self.asked(TRIAL, self.spec(candidate))
            except RectexportError as error:
                record.state, record.reason = REFUSED, str(error)[:300]
            else:
                record.state, record.memory, record.snr = PROVEN, answer["memory"], answer["snr"]
                self._refuse(record, breach(candidate, record, self.goal.bounds))
            self.state.save()

    def _refuse(self, record: Record, reason: str) -> None:
        if reason:
            record.state, record.reason = REFUSED, reason

    def _judge_accuracy(self, entries: Sequence[Candidate]) -> None:
        """Evaluate every variant once on each backend; one that is not shown to keep the bound is out."""
        open_ones = [entry for entry in entries if self._record(entry).state == PROVEN]
        pairs = dict.fromkeys((entry.variant, entry.backend) for entry in open_ones)
        for number, (name, backend) in enumerate(pairs):
            those = [entry for entry in open_ones if (entry.variant, entry.backend) == (name, backend)]
            if all(self._record(entry).accuracy is not None for entry in those):
                continue
            self.tick("evaluate", number, len(pairs))
            result = self.evaluate(self.variant(those[0]), backend)
            if result is not None:
                for entry in those:
                    self._note_accuracy(self._record(entry), self.variant(entry), result)
                self.state.save()

    def _note_accuracy(self, record: Record, variant: Variant, result: Evaluation) -> None:
        answers = result.engines[0]
        record.accuracy = answers.value
        if answers.difference is not None:
            difference = answers.difference
            record.drop = (difference.value, difference.low, difference.high)
        if self.goal.max_drop is not None and variant.precision != "fp32":
            self._refuse(record, too_far(record, self.goal.max_drop, result))

    def spec(self, candidate: Candidate) -> dict[str, Any]:
        """What its processes are told."""
        package = Package.open(self.variant(candidate).package)
        inputs = timed_inputs(package.manifest, candidate.batch)
        return {
            "package": str(package.path.absolute()),
            "engine": candidate.backend,
            "threads": candidate.threads,
            "streams": candidate.streams,
            "layout": candidate.layout,
            "cuda_graphs": candidate.cuda_graphs,
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in inputs],
        }

    def _race(self, proven: Sequence[Candidate], until: float) -> None:
        by_name = {candidate.key: candidate for candidate in proven}
        entries = self._contestants(proven)

        def told(standing: Standing) -> None:
            self._note(standing, proven)
            self.state.save()
            self.tick("race", len(proven) - len(standing.left(entries)), len(proven))

        def refuse(name: str, samples: Sequence[float]) -> str:
            return breach(by_name[name], Record(samples=list(samples)), self.goal.bounds)

        limits = Limits(until, self.seed, self.clock)
        standing = run_race(entries, limits, told, self.stopwatch, self.state.standing, refuse)
        self._note(standing, proven)

    def _contestants(self, proven: Sequence[Candidate]) -> list[Entry]:
        per_item = self.goal.measure != LATENCY
        return [
            Entry(Contestant(entry.key, self.spec(entry)), 1 / entry.items if per_item else 1.0) for entry in proven
        ]

    def _note(self, standing: Standing, proven: Sequence[Candidate]) -> None:
        for candidate in proven:
            record = self._record(candidate)
            record.rounds = standing.rounds.get(candidate.key, [])
            record.samples = standing.samples.get(candidate.key, [])
            if candidate.key in standing.refused:
                self._refuse(record, standing.refused[candidate.key])
            elif candidate.key in standing.out:
                record.state, record.reason = SLOWER, standing.out[candidate.key]
            else:
                record.state, record.reason = PROVEN, ""

    def _found(self, entries: Sequence[Candidate], proven: Sequence[Candidate]) -> Found:
        """The choice: of those that are not told from the fastest, the simplest.

        Where the time was up while intervals were wide, one that takes more than MARGIN times as long, by the median
        over the launches that both were in, is not equal.
        """
        standing = self.state.standing
        contestants = {entry.name: entry for entry in self._contestants(proven)}
        left = standing.left(list(contestants.values()))
        if not left:
            return Found(entries, self.state.records, None, "no candidate keeps the bounds", (), standing.separated)
        ratios = compared(left, standing)
        best = min(left, key=lambda entry: ratios[entry.name])
        most = np.inf if standing.separated else MARGIN * ratios[best.name]
        equal = []
        for candidate in proven:
            entry, record = contestants[candidate.key], self._record(candidate)
            interval = against(entry, best, standing) if entry is not best else None
            if interval is not None:
                record.ratio, record.low, record.high = interval.ratio, interval.low, interval.high
            if entry in left and (interval is None or interval.low <= 1) and ratios[entry.name] <= most:
                equal.append(candidate)
        chosen = simplest(equal, self._order)
        return Found(
            entries, self.state.records, chosen, self._reason(chosen, best.name, len(equal)), equal, standing.separated
        )

    def _order(self, candidate: Candidate) -> tuple[int, ...]:
        return simplicity(candidate, self.variant(candidate), self.space.backends)

    def _reason(self, chosen: Candidate, best: str, equal: int) -> str:
        what = "the fastest" if self.goal.measure == LATENCY else "the one with the most items a second"
        if equal == 1:
            return f"it is {what} of those that keep the bounds"
        rest = (
            "the time was up before more was known"
            if not self.state.standing.separated
            else "they are as good as equal"
        )
        if chosen.key == best:
            return f"{what}, and the simplest of {equal} that are not told apart: {rest}"
        return f"the simplest of {equal} that are not told apart, {best} among them: {rest}"


def too_far(record: Record, max_drop: float, result: Evaluation) -> str:
    """Why a metric is not shown to keep the bound; empty where its whole interval does."""
    assert record.drop is not None
    value, low, _ = record.drop
    if low is None:
        return f"{result.items} items are too few for a 95 % interval of {result.metric}"
    if low >= -max_drop:
        return ""
    return (
        f"{result.metric} {value:+.3g} {result.unit}, with 95 % confidence no less than {low:+.3g}, on {result.items} "
        f"items; {max_drop:g} lower is allowed"
    )
