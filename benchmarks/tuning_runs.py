"""Compare `rectexport tune` with an exhaustive search, in seeded runs; writes the table into docs/tuning.md.

    python -m benchmarks.tuning_runs [--network digits|resnet20] [--runs 20] [--seconds S]

Each run draws other data to search on. The exhaustive search times every candidate for 20 s over 12 launches. It is
made in the first run, and all are judged by it: what it times does not depend on the data. Both searches need the same
proofs and accuracies, so these count in the time of both; made once, they are timed once. Judged are: the accuracy of
the chosen package on data that the search did not see, its latency over that of the exhaustive search's best, and the
time that both took. Needs an idle machine; 20 runs of both networks take 1.5 hours. Runs are kept in out/tuning, so an
interrupted one goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
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
from rectexport.runtime.tuning.search import Search

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
    options = parser.parse_args()
    for network in (options.network,) if options.network else SECONDS:
        folder = FOLDER / network
        folder.mkdir(parents=True, exist_ok=True)
        model = checkpoint(network, folder)
        for seed in range(options.runs):
            kept = folder / f"{seed}.json"
            if not kept.exists():
                seconds = options.seconds or SECONDS[network]
                kept.write_text(json.dumps(one_run(network, model, folder, seed, seconds), indent=1))
                print(network, seed, kept.read_text(), flush=True)
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


def one_run(network: str, model: Path, folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Search on half of the data, or ITEMS of it, that the seed draws; judge on data that no search sees."""
    drawn, unseen = data(network)
    count = min(len(drawn["labels"]) // 2, ITEMS)
    chosen = np.random.default_rng(seed).permutation(len(drawn["labels"]))[:count]
    part = folder / "data.npz"
    np.savez(part, **{name: array[chosen] for name, array in drawn.items()})
    options = TuneOptions(
        data=part,
        max_drop=MAX_DROP,
        threads=tuple(sorted({1, usable_cores()})),
        precisions=("fp32", "fp16", "int8"),
        layouts=("auto", "plain"),
        seconds=seconds,
        seed=seed,
        shapes=ShapeOptions(),
    )
    kept, timing, proofs = folder / "exhaustive.json", 0.0, Timed()

    def measured(search: Search) -> None:
        nonlocal timing
        search.asked, search.evaluate = proofs.around(search.asked), proofs.around(search.evaluate)
        if not kept.exists():
            exhaustive = time_all(search, seed)
            kept.write_text(json.dumps(exhaustive))
            timing = exhaustive["took"]

    begin = time.perf_counter()
    found = Tuning(model, folder / "tuned", options, started=measured).run()
    took = time.perf_counter() - begin - timing
    exhaustive = json.loads(kept.read_text())
    assert found.package is not None
    best = found.document["load"]["backend"]
    judged = evaluate(found.package, unseen, backend=best, metric="top1")
    float_package = evaluate(exhaustive["reference"], unseen, backend=best, metric="top1")
    value, reference = judged.engines[0].value, float_package.engines[0].value
    assert value is not None and reference is not None
    medians = exhaustive["medians"]
    return {
        "chosen": found.document["chosen"],
        "drop": reference - value,
        "ratio": medians[found.document["chosen"]] / min(medians.values()),
        "share": found.document["seconds"] / (exhaustive["took"] + proofs.seconds),
        "proofs": proofs.seconds,
        "search": found.document["seconds"],
        "exhaustive": exhaustive["took"],
        "seconds": took,
    }


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
    contestants = [Contestant(entry.key, search.spec(entry)) for entry in search.entries()]
    times = race(contestants, Race(EXHAUSTIVE, launches=LAUNCHES, seed=seed))
    took = time.perf_counter() - begin
    reference = Path(search.variants[0].package)
    copied = reference.parent.with_name("reference")
    if not copied.exists():
        copied.mkdir()
        for path in reference.iterdir():
            (copied / path.name).write_bytes(path.read_bytes())
    return {"took": took, "medians": {name: timing.median for name, timing in times.items()}, "reference": str(copied)}


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
