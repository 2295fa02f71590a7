"""Parse and build the whole zoo in TensorRT for RTX; writes its table into docs/tensorrt.md: `make rtx-zoo`.

    python -m benchmarks.rtx [NETWORK ...] [--stage parse|build] [--limit SECONDS] [--retry] [--table]

No GPU is needed. One network of each family comes before the others, small ones before large ones; --stage parse leaves
the builds to a later run. Results are kept in docs/rtx.json after each case and not repeated, so an interrupted run
goes on where it was.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rtx import table
from benchmarks.rtx.child import Child
from benchmarks.rtx.outcomes import BEGUN, CRASHED, LATE, PARSED, Outcomes
from rectexport.models.registry import model_entry, model_names
from rectexport.runtime.base.environment import version

STAGES = ("parse", "build")
#: The process that exports.
ATTEMPT = partial(Child, "benchmarks.rtx.attempt")
#: Weights from which on an export takes gigabytes: that of VGG-16 (dynamic, float16) took 5 to 6, its build 1.1.
LARGE = 100_000_000


def in_order(names: Sequence[str]) -> list[str]:
    """The smallest network of each family, then the others, by number of weights; those of gigabytes last."""
    sizes = {name: model_entry(name).parameters for name in names}
    ranked, families = sorted(names, key=sizes.__getitem__), set()
    first = []
    for name in ranked:
        if model_entry(name).builder not in families and sizes[name] < LARGE:
            families.add(model_entry(name).builder)
            first.append(name)
    return [*first, *(name for name in ranked if name not in first)]


def run(name: str, stage: str, outcomes: Outcomes, limit: float, retry: bool = False, start: Any = ATTEMPT) -> None:
    """Try what is open of one network; a process that ends or takes too long costs the case that it is in."""
    wanted = outcomes.open(name, stage, retry)
    while wanted:
        child, before, begun, message = start([name, stage, *wanted]), len(wanted), "", ""
        try:
            for line in child.lines(limit):
                key, outcome = line.pop("key"), line["outcome"]
                goes_on = outcome == BEGUN or (stage == "build" and outcome == PARSED and "build" not in line)
                begun = key if goes_on else ""
                if outcome != BEGUN:
                    outcomes.put(name, key, line)
                if not goes_on:
                    wanted.remove(key)
        except TimeoutError:
            message = f"not finished after {limit:g} s"
        finally:
            said = child.end()
        if begun:
            outcomes.put(name, begun, {"outcome": LATE if message else CRASHED, "message": message or said})
            wanted.remove(begun)
        if len(wanted) == before:
            raise SystemExit(f"{name}: the process ended before its first case: {message or said}")


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    parser.add_argument("--stage", choices=STAGES, default="build", help="parse, or parse and build (default)")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one case (default %(default)s)")
    parser.add_argument("--table", action="store_true", help="write the table from what is there")
    parser.add_argument("--retry", action="store_true", help="try again what failed")
    parser.add_argument("--results", type=Path, help="another file than docs/rtx.json")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the child ends, too
    outcomes = Outcomes.read(asked.results) if asked.results else Outcomes.read()
    if not asked.table:
        outcomes.version = version("tensorrt-rtx-cu13") or ""
        for name in in_order(asked.names or model_names()):
            run(name, asked.stage, outcomes, asked.limit, asked.retry)
            counted = [entry["outcome"] for entry in outcomes.found[name].values()]
            print(name, *(f"{counted.count(kind)} {kind}" for kind in dict.fromkeys(counted)), flush=True)
    table.write(outcomes, model_names())


if __name__ == "__main__":
    main()
