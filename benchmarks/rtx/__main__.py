"""Parse and build the whole zoo in TensorRT for RTX; writes its table into docs/tensorrt.md: `make rtx-zoo`.

    python -m benchmarks.rtx [NETWORK ...] [--stage parse|build] [--limit SECONDS] [--retry] [--table]

No GPU is needed. One network of each family comes before the others, small ones before large ones; --stage parse leaves
the builds to a later run. Results are kept in docs/rtx.json after each case and not repeated, so an interrupted run
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rtx import table
from benchmarks.rtx.outcomes import BEGUN, CRASHED, LATE, PARSED, Outcomes
from rectexport.models.registry import model_entry, model_names
from rectexport.runtime.base.environment import version

STAGES = ("parse", "build")
#: Weights from which on a build takes gigabytes: VGG-16's was once killed for memory, in float16 with dynamic sizes.
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


class Child:
    """benchmarks.rtx.attempt in a process of its own."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.rtx.attempt", *arguments]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._late = False

    def _read_errors(self) -> None:
        for line in self._child.stderr or ():
            self._errors[:] = [*self._errors[-20:], line.strip()]

    def lines(self, limit: float) -> Iterator[dict[str, Any]]:
        """What it says. Raises TimeoutError, and ends it, if it says nothing for `limit` seconds."""
        while True:
            clock = threading.Timer(limit, self._stop)
            clock.start()
            try:
                line = self._child.stdout.readline() if self._child.stdout else ""
            finally:
                clock.cancel()
            if self._late:
                raise TimeoutError
            if not line:
                return
            if line.startswith('{"key"'):  # whatever else libraries print
                yield json.loads(line)

    def _stop(self) -> None:
        self._late = True
        self._child.kill()

    def end(self) -> str:
        """End it if it still runs; returns the last line of its messages."""
        self._child.kill()
        code = self._child.wait()
        self._reader.join(timeout=5)
        said = [line for line in self._errors if line]
        return said[-1] if said else f"exit {code}"


def run(name: str, stage: str, outcomes: Outcomes, limit: float, retry: bool = False, start: Any = Child) -> None:
    """Try what is open of one network; a process that ends or takes too long costs the case that it is in."""
    wanted = outcomes.open(name, stage, retry)
    while wanted:
        child, before, begun, message = start([name, stage, *wanted]), len(wanted), "", ""
        try:
            for line in child.lines(limit):
                key, outcome = line.pop("key"), line["outcome"]
                goes_on = outcome == BEGUN or (stage == "build" and outcome == PARSED)
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
