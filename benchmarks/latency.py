"""Median milliseconds of one ONNX file in ONNX Runtime on the CPU, on random data; prints JSON.

python -m benchmarks.latency MODEL.onnx [--runs 60]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from statistics import median

import numpy as np
import onnxruntime as ort


def main() -> None:
    """Warm up for a quarter of the runs, then time each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--runs", type=int, default=60)
    chosen = parser.parse_args()
    options = ort.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = ort.InferenceSession(chosen.model, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {entry.name: generator.standard_normal(entry.shape).astype(np.float32) for entry in session.get_inputs()}
    times = []
    for _ in range(chosen.runs // 4 + chosen.runs):
        begin = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - begin)
    print(json.dumps({"milliseconds": median(times[chosen.runs // 4 :]) * 1e3}))


if __name__ == "__main__":
    main()
