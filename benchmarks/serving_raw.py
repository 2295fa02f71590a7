"""Measure a package without a server: session.run by batch size; prints JSON.

python -m benchmarks.serving_raw PACKAGE ROWS… [--backend NAME] [--threads N] [--seconds S] [--pause-ms 1]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

import rectexport
from rectexport.runtime.engines import openvino_runner


def main() -> None:
    """Run each batch size for its share of the seconds; gives rows per second and the median time of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("rows", nargs="+", type=int)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--pause-ms", type=float, default=0.0, help="sleep between runs, as a server does")
    parser.add_argument("--bound", action="store_true", help="let OpenVINO bind its threads to cores, its default")
    options = parser.parse_args()
    if options.bound:
        openvino_runner.SETTINGS["ENABLE_CPU_PINNING"] = "YES"
    rng = np.random.default_rng(0)
    figures = {}
    with rectexport.load(options.package, options.backend, threads=options.threads) as session:
        shapes = {name: array.shape[1:] for name, array in session.package.goldens()[0].items()}
        for rows in options.rows:
            feeds = [
                {name: rng.standard_normal((rows, *shape)).astype(np.float32) for name, shape in shapes.items()}
                for _ in range(4)
            ]
            session.run(feeds[0])
            times: list[float] = []
            end = time.perf_counter() + options.seconds / len(options.rows)
            while time.perf_counter() < end:
                if options.pause_ms:
                    time.sleep(options.pause_ms * 1e-3)
                begin = time.perf_counter()
                session.run(feeds[len(times) % 4])
                times.append(time.perf_counter() - begin)
            figures[rows] = {"rate": rows * len(times) / sum(times), "p50_ms": float(np.median(times)) * 1e3}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
