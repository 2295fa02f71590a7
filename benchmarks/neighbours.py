"""Measure whether sessions in several processes slow each other down; writes a section of docs/runtime.md.

python -m benchmarks.neighbours [--seconds 6]

RF-ResNet-50 at batch 1, one thread each: first one process alone, then one process per core at the same time. An
engine that binds its threads to cores would choose the same core in every process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.common import THREADS, child, machine, table, write_section
from benchmarks.serving import BACKENDS, RESNET, prepare


def main() -> None:
    """Run every engine in one process, then in several at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement (default %(default)s)")
    seconds = parser.parse_args().seconds
    prepare(RESNET)
    rows = []
    contests = {backend: ("--backend", backend) for backend in BACKENDS}
    for name, words in {**contests, "openvino, threads bound": ("--backend", "openvino", "--bound")}.items():
        (alone,), together = rates(words, 1, seconds), rates(words, THREADS, seconds)
        rows.append([name, f"{alone:.1f}", ", ".join(f"{rate:.1f}" for rate in together)])
    headings = ("engine", "alone, images/s", f"each of {THREADS} processes at once, images/s")
    write_section("runtime.md", "neighbours", f"{table(headings, rows)}\n\n{machine()}")


def rates(options: Sequence[str], processes: int, seconds: float) -> list[float]:
    """Images per second of each process, while `processes` of them run at the same time."""
    words = (str(RESNET.package), "1", *options, "--threads", "1", "--seconds", str(seconds))
    with ThreadPoolExecutor(processes) as pool:
        found = list(pool.map(lambda _: child("serving_raw", *words), range(processes)))
    return [float(figures["1"]["rate"]) for figures in found]


if __name__ == "__main__":
    main()
