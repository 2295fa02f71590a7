"""One step in a process of its own.

python -m benchmarks.gpu.step NAME RESULTS --sources FOLDER --work FOLDER [--dry] [--seconds S]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.record import Record
from benchmarks.gpu.steps import STEPS


def main() -> None:
    """Run it. An exception is a failure of the step, with its last line in the record and all of it on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[step.name for step in STEPS])
    parser.add_argument("results", type=Path)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="in which further parts may begin")
    asked = parser.parse_args()
    record, begin = Record(asked.results, asked.name), time.monotonic()
    try:
        step = next(step for step in STEPS if step.name == asked.name)
        step.run(Bench(record, asked.dry, asked.sources, asked.work, begin + asked.seconds))
    except Exception as error:
        traceback.print_exc()
        record.fail(f"{type(error).__name__}: {error}")
        record.end("failed", time.monotonic() - begin)
        sys.exit(1)
    record.end("done", time.monotonic() - begin)


if __name__ == "__main__":
    main()
