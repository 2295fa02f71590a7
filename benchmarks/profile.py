"""Show the time of one case by kind of node on ONNX Runtime, to explain a figure.

    python -m benchmarks.profile C2sp shift --channels 64 --size 56 --batch 1

Prints each kind of node that ONNX Runtime runs after its own fusions and layout changes (ReorderInput and
ReorderOutput convert to and from its blocked layout), how often it runs, and its share of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.cases import KINDS, Case
from benchmarks.chains import Chain
from rectexport.runtime.base.environment import usable_cores

RUNS = 50


def main() -> None:
    """Profile one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[kind.title for kind in KINDS])
    parser.add_argument("form", help="as_written, floor, or a form")
    for name, default in (("channels", 64), ("size", 56), ("batch", 1), ("layers", 8)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    options = parser.parse_args()
    kind = next(entry for entry in KINDS if entry.title == options.kind)
    chain = Chain(options.channels, options.size, options.batch, options.layers)
    models = Case(kind, chain).models("onnxruntime")
    if options.form not in models:
        parser.error(f"form: expected one of {', '.join(models)}")
    rows = profile(models[options.form].SerializeToString(), (chain.batch, chain.channels, chain.size, chain.size))
    total = sum(seconds for _, seconds in rows.values())
    for op, (count, seconds) in sorted(rows.items(), key=lambda entry: -entry[1][1]):
        print(f"{op:<20} {count:4} × {seconds / count * 1e3:8.3f} ms {seconds / total:6.1%}")
    print(f"{'total':<20}        {total * 1e3:8.3f} ms")


def profile(model: bytes, shape: tuple[int, ...]) -> dict[str, tuple[int, float]]:
    """By kind of node: how many nodes one run has, and their seconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        for _ in range(RUNS):
            session.run(None, {"x": x})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]][event["name"]].append(event["dur"] * 1e-6)
    medians = {op: [float(np.median(values)) for values in nodes.values()] for op, nodes in times.items()}
    return {op: (len(values), sum(values)) for op, values in medians.items()}


if __name__ == "__main__":
    main()
