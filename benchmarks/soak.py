"""Measure the memory of a session over many calls of mixed shapes; writes a section of docs/runtime.md.

python -m benchmarks.soak [--calls 100000] [--backends onnxruntime,openvino]

Each backend has a process of its own, which does not import PyTorch. Shapes are random: batch 1 to 4, height and
width 8 to 32, 2500 different ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.common import DIGITS, child, machine, table, write_section

SMALLEST, LARGEST = (1, 1, 8, 8), (4, 1, 32, 32)
READINGS = 10


def main() -> None:
    """Measure all backends, or with --child a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--backends", default="onnxruntime,openvino")
    parser.add_argument("--child", nargs=2, metavar=("BACKEND", "PACKAGE"))
    options = parser.parse_args()
    if options.child:
        print(json.dumps(soak(options.child[0], options.child[1], options.calls)))
        return
    with TemporaryDirectory() as folder:
        package = export(Path(folder) / "digits")
        arguments = ("--calls", str(options.calls), "--child")
        results = [child("soak", *arguments, name, str(package)) for name in options.backends.split(",")]
    write_section("runtime.md", "soak", section(results))


def export(folder: Path) -> Path:
    """Export the digits network with dynamic batch, height and width."""
    shapes = [f"--{side}-shapes=x:{'x'.join(map(str, shape))}" for side, shape in (("min", SMALLEST), ("max", LARGEST))]
    command = [sys.executable, "-m", "rectexport", str(DIGITS), *shapes, "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def soak(backend: str, package: str, calls: int) -> dict[str, Any]:
    """Resident megabytes after load, at READINGS equal steps, and after close."""
    import rectexport

    rng = np.random.default_rng(0)
    pool = rng.standard_normal(LARGEST, np.float32)
    begin = time.perf_counter()
    session = rectexport.load(package, backend, threads=1)
    readings = [(0, resident())]
    for number in range(1, calls + 1):
        batch, _, height, width = rng.integers(SMALLEST, np.add(LARGEST, 1))
        session(pool[:batch, :, :height, :width])
        if number % max(calls // READINGS, 1) == 0:
            readings.append((number, resident()))
    description = session.backend.description
    session.close()
    return {
        "backend": description,
        "readings": readings,
        "closed": resident(),
        "seconds": time.perf_counter() - begin,
    }


def resident() -> float:
    """This process's resident memory in MB, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def section(results: list[dict[str, Any]]) -> str:
    """The table, with a row per number of calls and a column per backend."""
    rows = [
        [f"{calls:,}", *(f"{result['readings'][index][1]:.1f}" for result in results)]
        for index, (calls, _) in enumerate(results[0]["readings"])
    ]
    rows.append(["closed", *(f"{result['closed']:.1f}" for result in results)])
    rows.append(["seconds", *(f"{result['seconds']:.0f}" for result in results)])
    headings = ["calls", *(f"{result['backend']}, MB" for result in results)]
    return f"{table(headings, rows)}\n\n{machine()}"


if __name__ == "__main__":
    main()
