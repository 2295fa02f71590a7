"""Measure the cost of an export and of rectification at inference; writes docs/cost.md.

python -m benchmarks.cost [--rounds 5]

Every measurement runs in a process of its own; contestants take turns, and the page gives medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import THREADS, child, machine, rectified_resnet, table, write_page
from rectexport.runtime.package.folder import MODEL
from rectexport.runtime.timing import stopwatch

SHAPE = (1, 3, 224, 224)
CONVS = ("rectified", "plain")
#: Seconds of timing inference, and of one burst of runs.
SECONDS, BURST = 40.0, 0.3


def main() -> None:
    """Run all measurements, or with --child a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs="+")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](*options.child[1:])))
        return
    with TemporaryDirectory() as folder:
        exports = interleaved(options.rounds, {name: ("cost", "--child", name, folder) for name in ("bare", "full")})
        for conv in CONVS:
            child("cost", "--child", "package", conv, folder)
        models = {conv: Path(folder, conv, MODEL).read_bytes() for conv in CONVS}
        latencies = stopwatch.measure(models, "onnxruntime", seconds=SECONDS, burst=BURST)
    write_page("cost.md", page(exports, latencies, options.rounds))


def interleaved(rounds: int, contestants: Mapping[str, tuple[str, ...]]) -> dict[str, list[dict[str, Any]]]:
    """Run every contestant once per round."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, arguments in contestants.items():
            results[name].append(child(*arguments))
    return results


def bare_export(folder: str) -> dict[str, Any]:
    """Only torch.onnx.export of the rectified network, with our ops as single nodes."""
    import torch

    from rectexport.exporter.tracing import translation

    model = rectified_resnet()
    begin = time.perf_counter()
    torch.onnx.export(
        model,
        (torch.randn(SHAPE),),
        f"{folder}/bare.onnx",
        dynamo=True,
        external_data=False,
        opset_version=18,
        custom_translation_table=translation.table(),
        verbose=False,
    )
    return {"seconds": time.perf_counter() - begin, "megabytes": peak()}


def full_export(folder: str) -> dict[str, Any]:
    """rectexport.export with all its steps: passes, guard, parity, package."""
    import torch

    import rectexport

    model = rectified_resnet()
    begin = time.perf_counter()
    rectexport.export(model, (torch.randn(SHAPE),), f"{folder}/full")
    return {"seconds": time.perf_counter() - begin, "megabytes": peak()}


def export_package(conv: str, folder: str) -> dict[str, Any]:
    """Export the package whose latency is measured."""
    import torch

    import rectexport

    rectexport.export(rectified_resnet(conv), (torch.randn(SHAPE),), f"{folder}/{conv}")
    return {}


def peak() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {
    "bare": bare_export,
    "full": full_export,
    "package": export_package,
}


def page(exports: dict[str, list[dict[str, Any]]], latencies: dict[str, stopwatch.Timing], rounds: int) -> str:
    """The Markdown page."""
    seconds = {name: median(run["seconds"] for run in runs) for name, runs in exports.items()}
    memory = {name: median(run["megabytes"] for run in runs) for name, runs in exports.items()}
    compared = latencies["rectified"].against(latencies["plain"])
    cost = [
        ["bare `torch.onnx.export`", f"{seconds['bare']:.1f}", f"{memory['bare']:.0f}"],
        ["`rectexport.export`, all steps", f"{seconds['full']:.1f}", f"{memory['full']:.0f}"],
        ["ratio", f"{seconds['full'] / seconds['bare']:.2f}", f"{memory['full'] / memory['bare']:.2f}"],
    ]
    speed = [[name, f"{latencies[name].median * 1e3:.1f}"] for name in ("plain", "rectified")]
    speed.append(["ratio, in the same rounds", f"{compared.ratio:.3f} ± {compared.noise:.3f}"])
    return f"""# Cost of export and of rectification

Written by `.venv/bin/python -m benchmarks.cost --rounds {rounds}`. Each measurement runs in a process of its own, the
contestants take turns, and the figures are medians of {rounds} rounds.

## Export

RF-ResNet-50 with seeded weights at 1x3x224x224, fp32. The bare export traces and converts. Ours also runs the passes,
compares the model before and after the passes, compares outputs and inner tensors with PyTorch in float64, and writes
the package. Seconds are those of the call. Memory is the peak resident size of the process, with model and libraries.

{table(("export", "seconds", "peak MB"), cost)}

The goal is at most 1.8 for both.

## Rectification at inference

The same weights with rectified and with plain convolutions, in ONNX Runtime on the CPU with {THREADS} threads,
1x3x224x224, fp32, timed in alternating bursts. The ± is half of a 95 % interval.

{table(("net", "ms"), speed)}

{machine()} The machine is shared, so its speed varies.
"""


if __name__ == "__main__":
    main()
