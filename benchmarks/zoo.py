"""Export and time every network of the zoo at its native size, rectified and plain; writes docs/zoo.md.

    python -m benchmarks.zoo [NAME ...] [--seconds 4] [--export-only]

All are exported first. Then each network is timed with each kind of convolution, in turn (see
rectexport.runtime.timing.stopwatch). Packages and rows are kept in out/zoo, so an interrupted run can be continued.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import ROOT, THREADS, machine, table, write_page
from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import Exported, ExportOptions, run_export
from rectexport.models.registry import model_entry, model_names
from rectexport.models.tools.count import parameters, rectified_layers
from rectexport.models.tools.seeded import seeded_model
from rectexport.runtime.package.folder import MODEL
from rectexport.runtime.timing import stopwatch

FOLDER = ROOT / "out" / "zoo"
KEPT = FOLDER / "rows.json"
#: Seconds of one burst of runs.
BURST = 0.1
HEADINGS = (
    "network",
    "convolutions",
    "parameters",
    "rectified layers",
    "nodes",
    "relative L2",
    "worst region",
    "export s",
    "ms",
    "rectified / plain",
)


def main() -> None:
    """Export missing packages, time those without a time, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing for each network (default %(default)s)")
    parser.add_argument("--export-only", action="store_true", help="do not time, on a machine that is not idle")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in options.names or model_names():
        for conv, choices in variants(name).items():
            if f"{name} {conv}" not in rows:
                keep(rows, f"{name} {conv}", export(name, conv, choices))
    if options.export_only:
        return
    for name in {key.partition(" ")[0]: None for key, row in rows.items() if "milliseconds" not in row}:
        for key, timing in time_network(rows, name, options.seconds).items():
            keep(rows, key, {**rows[key], **timing})
    write_page("zoo.md", page(rows))


def time_network(rows: dict[str, dict[str, Any]], name: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Milliseconds of one network with every kind of convolution, and the ratio to the plain kind with its ±."""
    keys = [key for key in rows if key.partition(" ")[0] == name]
    models = {key: (package_of(key) / MODEL).read_bytes() for key in keys}
    times = stopwatch.measure(models, "onnxruntime", seconds=seconds, burst=BURST)
    figures: dict[str, dict[str, Any]] = {key: {"milliseconds": timing.median * 1e3} for key, timing in times.items()}
    base = f"{name} plain"
    for key in keys:
        if key != base and base in times:
            compared = times[key].against(times[base])
            figures[key]["ratio"] = [compared.ratio, compared.noise]
    return figures


def keep(rows: dict[str, dict[str, Any]], key: str, row: dict[str, Any]) -> None:
    """Add a row and save all rows."""
    rows[key] = row
    KEPT.write_text(json.dumps(rows, indent=1))
    print(key, row, flush=True)
    gc.collect()


def package_of(key: str) -> Path:
    """The folder of a row's package."""
    return FOLDER / key.replace(", ", "-").replace(" ", "-")


def variants(name: str) -> dict[str, dict[str, Any]]:
    """The kinds of zero-padded convolution that the network can be built with, and the options for each."""
    entry = model_entry(name)
    kinds: dict[str, dict[str, Any]] = {"rectified": {"conv": "rectified"}, "plain": {"conv": "plain"}}
    if "rectified" in entry.uses:
        kinds["rectified, average"] = {"conv": "rectified", "mode": "average"}
    return kinds if "conv" in entry.options() else {"plain": {}}


def export(name: str, conv: str, choices: dict[str, Any]) -> dict[str, Any]:
    """Export one network; parity is part of the export."""
    model = seeded_model(name, **choices)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, *model_entry(name).input_shape, generator=generator).numpy()
    source = Source("module", model, name, input_names=["input"], example_inputs=(example,))
    begin = time.perf_counter()
    result = run_export(source, ShapeOptions(), package_of(f"{name} {conv}"), ExportOptions(), Log())
    seconds = time.perf_counter() - begin
    sizes: dict[str, Any] = {"parameters": parameters(model), "rectified": rectified_layers(model)}
    sizes |= {"seconds": seconds, "threads": torch.get_num_threads()}
    return {**sizes, **parity_of(result)}


def parity_of(result: Exported) -> dict[str, Any]:
    """The distance of the output, and the worst region of the worst inner tensor."""
    case = result.parity.cases[0]
    layers = [(*layer.worst, layer.layer) for layer in case.layers]
    region, worst, layer = max(layers, key=lambda entry: entry[1], default=("none", 0.0, ""))
    output = max(value.relative_l2 for value in case.outputs.values())
    return {"nodes": list(result.nodes), "relative_l2": output, "worst": [region, worst, layer]}


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = []
    for key, row in rows.items():
        name, _, conv = key.partition(" ")
        ratio = "{:.2f} ± {:.2f}".format(*row["ratio"]) if "ratio" in row else ""
        region, worst, layer = row["worst"]
        lines.append(
            [
                name,
                conv,
                f"{row['parameters'] / 1e6:.2f} M",
                str(row["rectified"]),
                f"{row['nodes'][0]} → {row['nodes'][1]}",
                f"{row['relative_l2']:.1e}",
                f"{region} {worst:.1e} {layer}",
                f"{row['seconds']:.1f}",
                f"{row['milliseconds']:.2f}",
                ratio,
            ]
        )
    threads = " or ".join(sorted({str(row["threads"]) for row in rows.values()}))
    largest = max(row["relative_l2"] for row in rows.values())
    ratios = [row["ratio"][0] for row in rows.values() if "ratio" in row]
    return f"""# The zoo

Written by `make zoo` (`.venv/bin/python -m benchmarks.zoo`). Every network has seeded random weights with matching
BatchNorm statistics and runs with batch 1 at its native size in fp32. The columns give:

- nodes before and after the passes;
- the relative L2 of the output to PyTorch in float64 (largest of all: {largest:.1e}, allowed 1e-05);
- the worst region of the worst inner tensor;
- seconds of the whole export (threads of PyTorch: {threads}), on a machine that may have had other work;
- median milliseconds in ONNX Runtime on the CPU (threads: {THREADS}), on an idle machine, each in a process of its own,
  a network's kinds of convolution in interleaved rounds; the ± of the ratio is half of a 95 % interval.

Rectified / plain over all networks: median {np.median(ratios):.2f}, largest {max(ratios):.2f}. ONNX Runtime multiplies
outside the blocked layout of its convolutions, so the cost is largest for small maps of few channels.
[benchmarks.md](benchmarks.md) also has rectified layers on OpenVINO.

{table(HEADINGS, lines)}

{machine()}
"""


if __name__ == "__main__":
    main()
