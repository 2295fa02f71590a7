"""Compare `rectexport tune` with an exhaustive search, in seeded runs; writes the table into docs/tuning.md.

    python -m benchmarks.tuning_runs [--network digits|resnet20] [--runs 20] [--seconds S]
    python -m benchmarks.tuning_runs --prepare    make the packages of all runs, time nothing; other work does no harm

A prepared run needs the same number of cores as its search: threads are part of what is searched.

Each run draws other data to search on. The exhaustive search times every candidate for 20 s over 12 launches. It is
made in the first run, and all are judged by it. Both searches need the same proofs and accuracies, so these count in
the time of both; made once, they are timed once. Judged are: the accuracy of the chosen package on data that the search
did not see, its latency over that of the exhaustive search's best, and the time that both took. Where another candidate
was chosen, the run's own packages of the two are timed once more, in one race of 12 launches with 20 s for each: what
int8 leaves in float depends on the data. Needs an idle machine; 20 runs of both networks take 2 hours, a third of it
for the packages. Runs are kept in out/tuning, so an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import DIGITS, ROOT, machine, table
from benchmarks.quantization import trained_resnet
from rectexport.exporter.base.options import ShapeOptions
from rectexport.exporter.base.tuning import TuneOptions
from rectexport.exporter.tuning.tune import Tuning
from rectexport.models.digits.data import digits_split
from rectexport.models.digits.enlarged import enlarged
from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.evaluation.evaluate import evaluate
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, race
from rectexport.runtime.tuning.search import Found, Search

FOLDER = ROOT / "out" / "tuning"
PAGE = ROOT / "docs" / "tuning.md"
BEGIN, END = "<!-- runs -->\n", "<!-- end of runs -->\n"
#: Most seconds of a search.
SECONDS = {"digits": 20.0, "resnet20": 40.0}
#: Points that top-1 may drop.
MAX_DROP = 1.0
#: Of the exhaustive search, for each candidate: seconds and launches. One launch differs from the next by 10 %.
EXHAUSTIVE, LAUNCHES = 20.0, 12
COPIES, ITEMS = 8, 1000
HEADINGS = ("network", "runs", "bound broken", "worst drop", "latency / exhaustive's best", "within 3 %", "time share")


def main() -> None:
    """Run what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(SECONDS), help="one of them; by default both")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, help="most seconds of a search (default 20 for digits, else 40)")
    parser.add_argument("--prepare", action="store_true", help="make the packages of all runs, and end")
    options = parser.parse_args()
    for network in (options.network,) if options.network else SECONDS:
        folder = FOLDER / network
        folder.mkdir(parents=True, exist_ok=True)
        model = checkpoint(network, folder)
        for seed in range(options.runs):
            kept, run = folder / f"{seed}.json", Run(network, model, seed, options.seconds or SECONDS[network])
            if kept.exists():
                continue
            if options.prepare:
                run.prepare()
            else:
                kept.write_text(json.dumps(run.measure(), indent=1))
                print(network, seed, kept.read_text(), flush=True)
    if not options.prepare:
        write_page()


def checkpoint(network: str, folder: Path) -> Path:
    """The model's file: the committed one, or a rectified ResNet-20 trained once."""
    if network == "digits":
        return DIGITS
    path = folder / "resnet20.pt2"
    if not path.exists():
        model = trained_resnet(10).eval()
        example = torch.from_numpy(data(network)[0]["input"][:1])
        torch.export.save(torch.export.export(model, (example,)), str(path))
    return path


def data(network: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what searches draw from, what they never see), images and labels."""
    split = digits_split()
    parts = (split.train_images, split.train_labels, 2000), (split.held_out_images, split.held_out_labels, 3000)
    if network == "resnet20":
        return tuple(_arrays("input", *enlarged(x, y, COPIES, seed)) for x, y, seed in parts)  # type: ignore[return-value]
    return tuple(_arrays("x", x, y) for x, y, _ in parts)  # type: ignore[return-value]


def _arrays(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    return {name: images, "labels": labels}


class PackagesMade(Exception):
    """Ends a search before it proves and times anything; it goes on from there."""


@dataclass(frozen=True)
class Run:
    """A search on half of the data, or ITEMS of it, that the seed draws; judged on data that no search sees."""

    network: str
    model: Path
    seed: int
    seconds: float

    @property
    def folder(self) -> Path:
        """What all runs of the network share."""
        return FOLDER / self.network

    def prepare(self) -> None:
        """Make the packages that the search chooses among."""

        def end(search: Search) -> None:
            raise PackagesMade

        with suppress(PackagesMade):
            self._tuning(end).run()
        print(self.network, self.seed, "prepared", flush=True)

    def measure(self) -> dict[str, Any]:
        """Search, and judge what was chosen."""
        kept, proofs = self.folder / "exhaustive.json", Timed()
        ratios: list[float] = []

        def started(search: Search) -> None:
            search.asked, search.evaluate = proofs.around(search.asked), proofs.around(search.evaluate)
            if not kept.exists():
                kept.write_text(json.dumps(time_all(search, self.seed)))
            searched, medians = search.run, json.loads(kept.read_text())["medians"]

            def run() -> Found:
                found = searched()  # behind it, the packages are removed
                if found.chosen is not None:
                    ratios.append(behind_best(search, found.chosen.key, medians, self.seed))
                return found

            search.run = run  # type: ignore[method-assign]

        found = self._tuning(started).run()
        exhaustive = json.loads(kept.read_text())
        assert found.package is not None
        best = found.document["load"]["backend"]
        unseen = data(self.network)[1]
        value, reference = (
            evaluate(package, unseen, backend=best, metric="top1").engines[0].value
            for package in (found.package, exhaustive["reference"])
        )
        assert value is not None and reference is not None
        shutil.rmtree(self._package)
        return {
            "chosen": found.document["chosen"],
            "drop": reference - value,
            "ratio": ratios[0],
            "share": found.document["seconds"] / (exhaustive["took"] + proofs.seconds),
            "proofs": proofs.seconds,
            "search": found.document["seconds"],
            "exhaustive": exhaustive["took"],
        }

    @property
    def _package(self) -> Path:
        return self.folder / f"tuned-{self.seed}"

    def _tuning(self, started: Callable[[Search], None]) -> Tuning:
        options = TuneOptions(
            data=self._drawn(),
            max_drop=MAX_DROP,
            threads=tuple(sorted({1, usable_cores()})),
            precisions=("fp32", "fp16", "int8"),
            layouts=("auto", "plain"),
            seconds=self.seconds,
            seed=self.seed,
            shapes=ShapeOptions(),
        )
        return Tuning(self.model, self._package, options, started=started)

    def _drawn(self) -> Path:
        """The file of the data to search on; rewritten, it would be other data to a search that goes on."""
        path = self.folder / f"data-{self.seed}.npz"
        if path.exists():
            return path
        arrays = data(self.network)[0]
        total = len(arrays["labels"])
        chosen = np.random.default_rng(self.seed).permutation(total)[: min(total // 2, ITEMS)]
        np.savez(path, **{name: array[chosen] for name, array in arrays.items()})
        return path


class Timed:
    """Adds up the seconds of calls."""

    seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, timed."""

        def timed(*arguments: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


def time_all(search: Search, seed: int) -> dict[str, Any]:
    """Median seconds of every candidate that loads, timed as long as each other, and the time that it took."""
    begin = time.perf_counter()
    medians = time_some(search, [entry.key for entry in search.entries()], seed)
    took = time.perf_counter() - begin
    reference = Path(search.variants[0].package)
    copied = reference.parent.with_name("reference")
    if not copied.exists():
        copied.mkdir()
        for path in reference.iterdir():
            (copied / path.name).write_bytes(path.read_bytes())
    return {"took": took, "medians": medians, "reference": str(copied)}


def time_some(search: Search, keys: Sequence[str], seed: int) -> dict[str, float]:
    """Median seconds of candidates of a search, each timed for EXHAUSTIVE seconds over LAUNCHES."""
    contestants = [Contestant(entry.key, search.spec(entry)) for entry in search.entries() if entry.key in keys]
    times = race(contestants, Race(EXHAUSTIVE, launches=LAUNCHES, seed=seed))
    return {name: timing.median for name, timing in times.items()}


def behind_best(search: Search, chosen: str, medians: Mapping[str, float], seed: int) -> float:
    """The latency of a choice over that of the exhaustive search's best, or of the best that this search has too."""
    known = {same(key): median for key, median in medians.items()}
    best = min((entry.key for entry in search.entries() if same(entry.key) in known), key=lambda key: known[same(key)])
    if chosen == best:
        return 1.0
    timed = time_some(search, [chosen, best], seed)
    return timed[chosen] / timed[best]


def same(key: str) -> str:
    """A candidate's name without the engine that its package was made for: "int8 for openvino" is "int8"."""
    return re.sub(r"^(\w+) for \w+", r"\1", key)


def write_page() -> None:
    """Replace the table in the page."""
    lines = []
    for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
        runs = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
        if runs:
            lines.append(summary(folder.name, runs))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table(HEADINGS, lines)}\n\n{machine()}\n\n{END}{after}", encoding="utf-8")


def summary(network: str, runs: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    ratios = [entry["ratio"] for entry in runs]
    return [
        network,
        str(len(runs)),
        str(sum(entry["drop"] > MAX_DROP for entry in runs)),
        f"{max(entry['drop'] for entry in runs):+.2f} points",
        f"{np.median(ratios):.3f}, at most {max(ratios):.3f}",
        f"{sum(ratio <= 1.03 for ratio in ratios)} of {len(runs)}",
        f"{100 * np.median([entry['share'] for entry in runs]):.0f} %",
    ]


if __name__ == "__main__":
    main()
