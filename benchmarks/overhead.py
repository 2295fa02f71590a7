"""Measure the time that a session adds to a raw InferenceSession.run; writes a section of docs/runtime.md.

python -m benchmarks.overhead [--calls 3000]

One process and a tiny network, so that the difference is visible beside the inference itself. Every contestant has an
engine of its own; they take turns in a new random order in each round, so that none always follows the same other.
The figure is the median of the differences within a round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.common import DIGITS, machine, table, write_section

WARM_UP, LOADS = 200, 20


def main() -> None:
    """Export the digits network and time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        export(Path(folder) / "digits")
        times = measure(contestants(Path(folder) / "digits"), options.calls)
        first = {warm: first_calls(Path(folder) / "digits", warm) for warm in (True, False)}
    write_section("runtime.md", "overhead", section(times, first, options.calls))


def export(folder: Path) -> None:
    """Export the digits network at 1x1x8x8."""
    command = [sys.executable, "-m", "rectexport", str(DIGITS), "--input", "x:1x1x8x8", "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def contestants(package: Path) -> dict[str, Callable[[], Any]]:
    """Calls by name; the others are compared with the first. Each has one thread, so that none waits for a pool."""
    import onnxruntime as ort
    import torch

    import rectexport

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    raw = ort.InferenceSession(str(package / "model.onnx"), settings, providers=["CPUExecutionProvider"])
    called, named, given, torched, submitted = (rectexport.load(package, "onnxruntime", threads=1) for _ in range(5))
    checking = rectexport.load(package, "onnxruntime", threads=1, check_finite=True)
    feeds, _ = called.package.goldens()
    (image,) = feeds.values()
    names = [entry.name for entry in called.outputs]
    out = {names[0]: called(image)}
    tensor = torch.from_numpy(image)
    return {
        "raw InferenceSession.run": lambda: raw.run(names, feeds),
        "session(numpy)": lambda: called(image),
        "session.run(feeds)": lambda: named.run(feeds),
        "session.run(feeds, out)": lambda: given.run(feeds, out),
        "session(numpy), check_finite": lambda: checking(image),
        "session(torch, host)": lambda: torched(tensor),
        "session.submit(numpy).result()": lambda: submitted.submit(image).result(),
    }


def measure(calls: dict[str, Callable[[], Any]], count: int) -> dict[str, Any]:
    """Seconds of each call, interleaved."""
    times = {name: np.zeros(count) for name in calls}
    rng = np.random.default_rng(0)
    for index in range(-WARM_UP, count):
        for name in rng.permutation(list(calls)):
            call = calls[name]
            begin = time.perf_counter()
            call()
            seconds = time.perf_counter() - begin
            if index >= 0:
                times[name][index] = seconds
    return times


def first_calls(package: Path, warm_up: bool) -> float:
    """Median microseconds of the first call of a session, over LOADS sessions."""
    import rectexport

    times = []
    for _ in range(LOADS):
        with rectexport.load(package, "onnxruntime", threads=1, warm_up=warm_up) as session:
            (image,) = session.package.goldens()[0].values()
            begin = time.perf_counter()
            session(image)
            times.append(time.perf_counter() - begin)
    return float(np.median(times) * 1e6)


def section(times: dict[str, Any], first: dict[bool, float], count: int) -> str:
    """The table: medians, and medians of the differences from the first contestant; then the times of first calls."""
    (_, raw), *_ = times.items()
    rows = []
    for name, values in times.items():
        more = np.percentile(values - raw, (25, 50, 75)) * 1e6
        added = "" if values is raw else f"{more[1]:.1f} ({more[0]:.1f} – {more[2]:.1f})"
        rows.append([name, f"{np.median(values) * 1e6:.1f}", added])
    headings = ["call", "median µs", "added µs: median (quartiles)"]
    return f"""{table(headings, rows)}

{count} calls each, in turn, in random order. The first call after load takes {first[True]:.0f} µs, with warm_up=False
{first[False]:.0f} µs (medians of {LOADS} loads). {machine()}"""


if __name__ == "__main__":
    main()
