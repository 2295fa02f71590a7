"""Draw graphs and modules, export them, and judge what their packages promise.

`python -m tests.differential.drawn.run [--seed S] [--count N] [--modules M]`, `make differential`: N graphs and M
modules from seed S on, each for one target in turn. Prints each promise that does not hold, and counts at the end.
Ends with 1 where a package says that it agrees on an engine, and the engine refuses it or answers otherwise for values
that no row of export/engine_facts names.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter

from tests.differential.drawn.trial import Outcome, seeded


def main() -> int:
    """Run the seeds of the command line."""
    parser = argparse.ArgumentParser(description="Judge the packages of random graphs and modules.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="number of graphs")
    parser.add_argument("--modules", type=int, default=100, help="number of PyTorch modules")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    faults = 0
    for kind, count in (("graphs", options.count), ("optimized", options.count), ("modules", options.modules)):
        counts: Counter[str] = Counter()
        for seed in range(options.seed, options.seed + count):
            outcome = seeded(seed)[kind]()
            _tell(outcome)
            counts.update(_counted(outcome))
        faults += counts["with a fault"]
        print(f"{kind}: {', '.join(f'{number} {name}' for name, number in counts.items())}", flush=True)
    return int(faults > 0)


def _tell(outcome: Outcome) -> None:
    for word, lines in (("FAULT", outcome.faults), ("known", outcome.known), ("disputed", outcome.disputed)):
        for line in lines[:3]:
            print(f"{word:8} {outcome.name}: {line}", flush=True)
    if outcome.refused:
        print(f"refused  {outcome.name}: {outcome.refused[:300]}", flush=True)
    for engine, reason in outcome.others.items():
        print(f"not on   {outcome.name}: {engine}: {reason[:200]}", flush=True)


def _counted(outcome: Outcome) -> dict[str, int]:
    counts = {"tried": 1, "refused": int(bool(outcome.refused)), "outputs judged": outcome.judged}
    counts |= {f"agree on {engine}": 1 for engine in outcome.agreeing}
    counts |= {f"say they do not agree on {engine}": 1 for engine in outcome.others}
    named = (("with a fault", outcome.faults), ("known", outcome.known), ("disputed", outcome.disputed))
    return counts | {word: int(bool(lines)) for word, lines in named}


if __name__ == "__main__":
    sys.exit(main())
