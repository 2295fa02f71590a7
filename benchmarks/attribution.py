"""How much of a run's time `rectexport profile` ties to nodes, for one network of every family of the zoo.

    python -m benchmarks.attribution [NAME ...] [--seconds 3]

Shares of a run, not times: they also hold on a machine that is not idle. Writes the rows into the table of
docs/tuning.md, between its marks; rows of networks that were not asked for stay. Packages are kept in out/attribution.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.common import ROOT, table
from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import ExportOptions, run_export
from rectexport.models.catalog import ENTRIES
from rectexport.models.registry import model_entry
from rectexport.models.tools.seeded import seeded_model
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.profile import Profile, ProfileOptions, profile

FOLDER = ROOT / "out" / "attribution"
KEPT = FOLDER / "rows.json"
PAGE = ROOT / "docs" / "tuning.md"
BEGIN, END = "<!-- attribution -->\n", "<!-- end of attribution -->\n"
ENGINES = ("onnxruntime", "openvino")
#: Smaller images run in batches of this size: one of them takes less than the engines' clocks and calls resolve.
LARGE, BATCH = 64, 64
#: Networks with a size of their own, [N, C, H, W]: the layers of digits still take microseconds at batch 64, and PVANet
#: is a detector, which its paper runs at this size.
SIZES: Mapping[str, tuple[int, ...]] = {"digits": (1024, 1, 8, 8), "pvanet_crelu": (1, 3, 640, 1056)}
HEADINGS = (
    "network",
    "engine",
    "tied to nodes",
    "reorders",
    "between layers",
    "framework",
    "tied to modules",
    "layers",
    "nodes",
)


def families() -> list[str]:
    """The first network of each family, as the catalog has them: the rows with one builder."""
    first: dict[str, str] = {}
    for entry in ENTRIES:
        first.setdefault(entry.builder, entry.name)
    return list(first.values())


def main() -> None:
    """Export, profile, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks to measure anew; by default one of each family")
    parser.add_argument("--seconds", type=float, default=3.0, help="of runs for each (default %(default)s)")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in options.names or families():
        package = exported(name)
        for engine in ENGINES:
            if options.names or f"{name} {engine}" not in rows:
                found = profile(package, ProfileOptions(engine, seconds=options.seconds, memory=False))[0]
                rows[f"{name} {engine}"] = row(found)
                print(name, engine, rows[f"{name} {engine}"], flush=True)
                KEPT.write_text(json.dumps(rows, indent=1))
    write(rows)


def exported(name: str) -> Package:
    """The package of a network, with a form for each engine; exported where it is not kept."""
    shape = size_of(name)
    folder = FOLDER / f"{name}-{'x'.join(map(str, shape))}"
    if not folder.is_dir():
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()
        source = Source("module", seeded_model(name), name, input_names=["input"], example_inputs=(example,))
        run_export(source, ShapeOptions(), folder, ExportOptions(target="onnxruntime,openvino"), Log())
    return Package.open(folder)


def size_of(name: str) -> tuple[int, ...]:
    """The size that a network runs at, [N, C, H, W]."""
    native = model_entry(name).input_shape
    return SIZES.get(name, (1 if native[-1] >= LARGE else BATCH, *native))


def row(found: Profile) -> dict[str, Any]:
    """What the table shows of a profile."""
    return {
        "tied": found.attributed,
        "reorders": found.reorders,
        "dispatch": found.dispatch,
        "framework": found.outside["framework"] / found.wall,
        "modules": sum(layer.share for layer in found.layers if layer.module),
        "layers": sum(not layer.reorder for layer in found.layers),
        "nodes": len({name for layer in found.layers for name in layer.nodes}),
        "wall_ms": found.wall * 1e3,
    }


def write(rows: dict[str, dict[str, Any]]) -> None:
    """Replace rows of the table in the page, in the order of families."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in old.splitlines() if "%" in line]
    found = {(cells[0], cells[1]): cells for cells in lines}
    for key, entry in rows.items():
        name, engine = key.split(" ")
        found[name, engine] = [name, engine, *_cells(entry)]
    order = families()
    cells = [found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))]
    PAGE.write_text(f"{before}{BEGIN}\n{table(HEADINGS, cells)}\n\n{END}{after}", encoding="utf-8")


def _cells(entry: dict[str, Any]) -> list[str]:
    shares = [f"{100 * entry[name]:.1f} %" for name in ("tied", "reorders", "dispatch", "framework", "modules")]
    return [*shares, str(entry["layers"]), str(entry["nodes"])]


if __name__ == "__main__":
    main()
