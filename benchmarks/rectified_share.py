"""The share of a run that rectification takes, read off profiles and measured; writes a section of docs/tuning.md.

    python -m benchmarks.rectified_share            RF-ResNet-50 on both engines (10 minutes, idle machine)
    python -m benchmarks.rectified_share --quick    a small network for seconds; prints the section

Both compare the package with its plain twin, the same graph without r, as `rectexport bench --plain-twin` does. The
profile's share is the time of all layers, conversions of layouts among them, minus that of the twin's layers. The time
of the multiplications alone would not do: OpenVINO fuses them into convolutions, and on ONNX Runtime they also keep a
convolution from taking the ReLU with it. Packages are kept in out/share.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, THREADS, machine, table, write_section
from benchmarks.networks import ENGINES
from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.profile import Profile, ProfileOptions, profile
from rectexport.runtime.timing.intervals import Interval, ratio_interval
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, race

LAUNCHES = 10
FOLDER = ROOT / "out" / "share"
WITH, WITHOUT = "package", "plain twin"
HEADINGS = ("engine", "layers of r alone", "profile: package − twin", "bench --plain-twin", "the profile is within it")


def main() -> None:
    """Export, profile, time, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="resnet20, 0.2 s for each launch; prints the section")
    options = parser.parse_args()
    network, seconds = ("resnet20", 0.2) if options.quick else ("resnet50", 3.0)
    rows = {engine: measured(network, engine, seconds) for engine in ENGINES}
    text = section(network, rows)
    if options.quick:
        print(text)
        return
    (FOLDER / "rows.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    write_section("tuning.md", "share", text)


def packages(network: str, engine: str) -> tuple[Package, Package]:
    """The network as it is exported for an engine, and its plain twin; made where they are not kept."""
    import torch

    import rectexport
    from rectexport.exporter.tools.plain_twin import write_plain_twin
    from rectexport.models.registry import model_entry
    from rectexport.models.tools.seeded import seeded_model

    folder, twin = FOLDER / f"{network}-{engine}", FOLDER / f"{network}-{engine}-twin"
    if not folder.is_dir():
        example = torch.randn((1, *model_entry(network).input_shape), generator=torch.Generator().manual_seed(0))
        rectexport.export(seeded_model(network, conv="rectified"), (example,), folder, target=engine, report=False)
    if not (twin / "manifest.json").exists():
        twin.mkdir(exist_ok=True)
        write_plain_twin(Package.open(folder), twin)
    return Package.open(folder), Package.open(twin)


def measured(network: str, engine: str, seconds: float) -> dict[str, Any]:
    """Shares of a run, each with its 95 % interval; the two packages take turns in every launch."""
    pair = packages(network, engine)
    how = ProfileOptions(engine, THREADS, seconds, launches=1, memory=False)
    profiles = [profiled(pair, how, launch) for launch in range(LAUNCHES)]
    found = ratio_interval([[in_layers(mine)] for mine, _ in profiles], [[in_layers(twin)] for _, twin in profiles])
    times = race(
        [contestant(name, package, engine) for name, package in zip((WITH, WITHOUT), pair, strict=True)],
        Race(seconds * LAUNCHES, launches=LAUNCHES),
    )
    alone = sum(of_r(mine) / mine.wall for mine, _ in profiles) / LAUNCHES
    print(engine, "is done", flush=True)
    return {"alone": alone, "profile": share(found), "bench": share(times[WITH].interval(times[WITHOUT]))}


def profiled(pair: Sequence[Package], how: ProfileOptions, launch: int) -> tuple[Profile, Profile]:
    """One launch of each; every other time the twin is first."""
    order = list(pair) if launch % 2 == 0 else list(reversed(pair))
    found = profile(order, how, tick=lambda done, total, text: None)
    return (found[0], found[1]) if launch % 2 == 0 else (found[1], found[0])


def contestant(name: str, package: Package, engine: str) -> Contestant:
    """A package as `rectexport bench` times it; a twin's answers differ on purpose."""
    spec = {"package": str(Path(package.path).absolute()), "engine": engine, "threads": THREADS}
    return Contestant(name, {**spec, "allow_unproven": True})


def in_layers(found: Profile) -> float:
    """Seconds of one run in layers and in conversions between them."""
    return sum(layer.seconds for layer in found.layers)


def of_r(found: Profile) -> float:
    """Seconds of one run in layers that do nothing but multiply by r."""
    return sum(
        layer.seconds
        for layer in found.layers
        if layer.nodes and all(name.startswith(SCALE_PREFIX) for name in layer.nodes)
    )


def share(found: Interval) -> list[float]:
    """The part of a run that the twin does not need, with its interval: 1 − 1 / ratio."""
    return [1 - 1 / value for value in (found.ratio, found.low, found.high)]


def section(network: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown section."""
    cells = []
    for engine, row in rows.items():
        value, (_, low, high) = row["profile"][0], row["bench"]
        agrees = "yes" if low <= value <= high else "no"
        cells.append([ENGINES[engine], f"{row['alone']:.1%}", shown(row["profile"]), shown(row["bench"]), agrees])
    return f"""{network}, rectified, batch 1, {date.today().isoformat()}: {LAUNCHES} launches of each; 95 % intervals in
brackets.

{table(HEADINGS, cells)}

{machine()}"""


def shown(found: Sequence[float]) -> str:
    """A share with its interval, in per cent."""
    value, low, high = found
    return f"{value:.1%} ({low:.1%} – {high:.1%})"


if __name__ == "__main__":
    main()
