"""Export and time every network of the zoo at its native size, rectified and plain; writes docs/zoo.md.

    python -m benchmarks.zoo [--seconds 4] [--export-only]
    python -m benchmarks.zoo --only m5 r3d_18    these alone; the page keeps its other lines

All are exported first. Then each network is timed with each kind of convolution, in turn (see
rectexport.runtime.timing.stopwatch). Packages and rows are kept in out/zoo, so an interrupted run can be continued.

--only refuses to put times of another machine into the page; with --export-only as well, the new lines have no times.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import DOCS, ROOT, THREADS, machine, table, write_page
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
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=model_names(), help="measure these alone")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing for each network (default %(default)s)")
    parser.add_argument("--export-only", action="store_true", help="do not time, on a machine that is not idle")
    options = parser.parse_args()
    kept = kept_page(not options.export_only) if options.only else None
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    names = options.only or model_names()
    for name in names:
        for conv, choices in variants(name).items():
            if f"{name} {conv}" not in rows:
                keep(rows, f"{name} {conv}", export(name, conv, choices))
    if options.export_only and kept is None:
        return
    for name in [] if options.export_only else names:
        if any("milliseconds" not in row for row in rows_of(rows, name).values()):
            for key, timing in time_network(rows, name, options.seconds).items():
                keep(rows, key, {**rows[key], **timing})
    own = {key: row for name in names for key, row in rows_of(rows, name).items()}
    write_page("zoo.md", page(own, kept, timed=not options.export_only))


def rows_of(rows: Mapping[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """The rows of one network."""
    return {key: row for key, row in rows.items() if key.partition(" ")[0] == name}


def time_network(rows: dict[str, dict[str, Any]], name: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Milliseconds of one network with every kind of convolution, and the ratio to the plain kind with its ±."""
    keys = list(rows_of(rows, name))
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
    """The kinds of convolution that the network can be built with, and the options for each."""
    entry = model_entry(name)
    own = "masked" if "masked" in entry.uses else "rectified"
    kinds: dict[str, dict[str, Any]] = {own: {"conv": own}, "plain": {"conv": "plain"}}
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


def cells(key: str, row: Mapping[str, Any], timed: bool) -> list[str]:
    """One line of the table; without times where it has none, or none are wanted."""
    name, _, conv = key.partition(" ")
    region, worst, layer = row["worst"]
    return [
        name,
        conv,
        f"{row['parameters'] / 1e6:.2f} M",
        str(row["rectified"]),
        f"{row['nodes'][0]} → {row['nodes'][1]}",
        f"{row['relative_l2']:.1e}",
        f"{region} {worst:.1e} {layer}",
        f"{row['seconds']:.1f}",
        f"{row['milliseconds']:.2f}" if timed and "milliseconds" in row else "",
        "{:.2f} ± {:.2f}".format(*row["ratio"]) if timed and "ratio" in row else "",
    ]


@dataclass(frozen=True)
class Kept:
    """What the page says already: its lines by network and convolutions, PyTorch's threads, and the machine."""

    lines: Mapping[str, list[str]]
    threads: frozenset[str]
    machine: str


def kept_page(timed: bool) -> Kept:
    """The page as it is. Raises SystemExit where its times are of another machine, and new ones are to be added."""
    text = (DOCS / "zoo.md").read_text(encoding="utf-8")
    lines = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    padded = [[*(cell.strip() for cell in line), "", ""][: len(HEADINGS)] for line in lines]
    threads = re.findall(r"threads of PyTorch: ([\w ]+)\)", text)[0].split(" or ")
    found = Kept({f"{line[0]} {line[1]}": line for line in padded}, frozenset(threads), text.splitlines()[-1])
    if timed and found.machine != machine():
        raise SystemExit(
            f"the times in docs/zoo.md are of another machine.\n  the page: {found.machine}\n  here:     {machine()}\n"
            "Measure all networks, without --only; or add --export-only, and the new lines have no times."
        )
    return found


def page(rows: Mapping[str, Mapping[str, Any]], kept: Kept | None = None, timed: bool = True) -> str:
    """The Markdown page, with the lines that are kept."""
    lines = {**(kept.lines if kept else {}), **{key: cells(key, row, timed) for key, row in rows.items()}}
    order = {name: place for place, name in enumerate(model_names())}
    ordered = sorted(lines.values(), key=lambda line: order.get(line[0], len(order)))
    threads = " or ".join(sorted({*(kept.threads if kept else ()), *(str(row["threads"]) for row in rows.values())}))
    largest = max(float(line[5]) for line in ordered)
    ratios = [float(line[9].split()[0]) for line in ordered if line[9] and line[1].startswith("rectified")]
    return f"""# The zoo

Written by `make zoo` (`.venv/bin/python -m benchmarks.zoo`). Every network has seeded random weights with matching
BatchNorm statistics and runs with batch 1 at its native size in fp32. The columns give:

- nodes before and after the passes;
- the relative L2 of the output to PyTorch in float64 (largest of all: {largest:.1e}, allowed 1e-05);
- the worst region of the worst inner tensor;
- seconds of the whole export (threads of PyTorch: {threads}), on a machine that may have had other work;
- median milliseconds in ONNX Runtime on the CPU (threads: {THREADS}), on an idle machine, each in a process of its own,
  a network's kinds of convolution in interleaved rounds; the ± of the ratio is half of a 95 % interval. Networks
  without milliseconds have not been timed yet.

Rectified / plain over all networks: median {np.median(ratios):.2f}, largest {max(ratios):.2f}. The cost is largest
where small maps have few channels: a convolution takes little longer there than the multiplication behind it.
[networks.md](networks.md) also has OpenVINO, and says where the goal, a median of 1.05, is missed and why.

{table(HEADINGS, ordered)}

{kept.machine if kept else machine()}
"""


if __name__ == "__main__":
    main()
