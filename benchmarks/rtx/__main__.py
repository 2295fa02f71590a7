"""Parse and build the whole zoo in TensorRT for RTX; writes its table into docs/tensorrt.md: `make rtx-zoo`.

    python -m benchmarks.rtx [NETWORK ...] [--limit SECONDS] [--table] [--retry]

No GPU is needed. Results are kept in out/rtx and not repeated, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rtx import table
from benchmarks.rtx.attempt import BUILT
from benchmarks.rtx.cases import FORMS, SHAPES, cases
from rectexport.models.registry import model_names

RESULTS = Path("out/rtx")
BEGUN = "begun"
Results = dict[str, dict[str, Any]]


def path_of(name: str) -> Path:
    """Where a network's results are kept."""
    return RESULTS / f"{name}.jsonl"


def results_of(name: str) -> Results:
    """Key of a case -> its newest result; a case whose process ended in it is "crashed"."""
    path, found = path_of(name), {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        entry = json.loads(line)
        found[entry["key"]] = entry
    return found


def run(name: str, limit: float, retry: bool, shapes: str, forms: str) -> None:
    """Try what is open of one network, in processes of their own: one that ends goes on in the next."""
    known = results_of(name)
    tried = {key: entry["outcome"] for key, entry in known.items() if entry["outcome"] != BEGUN}
    done = [key for key, outcome in tried.items() if outcome == BUILT or not retry]
    while len(done) < len(wanted := [case.key for case in cases(shapes.split(","), forms.split(","))]):
        command = [sys.executable, "-m", "benchmarks.rtx.attempt", name, str(path_of(name)), "--shapes", shapes]
        command += ["--forms", forms, "--skip", *done]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
            message = (ended.stderr.strip().splitlines()[-1:] or [f"exit {ended.returncode}"])[0]
        except subprocess.TimeoutExpired:
            message = f"not finished after {limit:g} s"
        found = results_of(name)
        for entry in found.values():
            if entry["outcome"] == BEGUN:
                _mark_crashed(name, entry, message)
        before, done = len(done), [key for key in wanted if key in results_of(name)]
        if len(done) <= before:
            raise SystemExit(f"{name}: {message}")


def _mark_crashed(name: str, entry: dict[str, Any], message: str) -> None:
    with path_of(name).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**entry, "outcome": "crashed", "message": message}) + "\n")


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one network (default %(default)s)")
    parser.add_argument("--table", action="store_true", help="write the table from what is there")
    parser.add_argument("--retry", action="store_true", help="try again what was not built")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--forms", default=",".join(FORMS))
    asked = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in () if asked.table else asked.names or model_names():
        run(name, asked.limit, asked.retry, asked.shapes, asked.forms)
        counted = [entry["outcome"] for entry in results_of(name).values()]
        print(name, *(f"{counted.count(kind)} {kind}" for kind in dict.fromkeys(counted)), flush=True)
    table.write({name: results_of(name) for name in model_names()})


if __name__ == "__main__":
    main()
