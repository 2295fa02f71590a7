"""What a package does without a server: session.run by batch size; prints JSON.

python -m benchmarks.serving_raw PACKAGE THREADS SECONDS ROWS…
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import rectexport


def main() -> None:
    """For each batch size, runs for its share of the seconds: rows a second, and the median of a run."""
    package, threads, seconds, *sizes = sys.argv[1:]
    rng = np.random.default_rng(0)
    figures = {}
    with rectexport.load(package, threads=int(threads)) as session:
        shapes = {name: array.shape[1:] for name, array in session.package.goldens()[0].items()}
        for rows in map(int, sizes):
            feeds = [
                {name: rng.standard_normal((rows, *shape)).astype(np.float32) for name, shape in shapes.items()}
                for _ in range(4)
            ]
            session.run(feeds[0])
            times: list[float] = []
            end = time.perf_counter() + float(seconds) / len(sizes)
            while time.perf_counter() < end:
                begin = time.perf_counter()
                session.run(feeds[len(times) % 4])
                times.append(time.perf_counter() - begin)
            figures[rows] = {"rate": rows * len(times) / sum(times), "p50_ms": float(np.median(times)) * 1e3}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
