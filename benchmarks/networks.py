"""Time whole networks, one of each family of the zoo, against other ways to run them; writes docs/networks.md.

    python -m benchmarks.networks                          all families, for up to 25 minutes (idle machine); again
                                                           for those that were not begun
    python -m benchmarks.networks --only resnet20 resnet18 these; the others' figures stay
    python -m benchmarks.networks --anew                   forget what was measured before
    python -m benchmarks.networks --report                 measure nothing, write the page again
    python -m benchmarks.networks --quick --only digits    a short try; writes into out/networks, not into docs/

Ours is the package that `rectexport` writes, on each engine. The others are PyTorch eager and compiled, the file of
torch.onnx.export on each engine, and that file after onnxsim and onnxslim. Every model runs alone in its process, and
the models of a network take turns in rounds (rectexport.runtime.timing.stopwatch). Figures are kept in
docs/networks.json after each network; a run goes on where the last one on the same machine ended.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import DOCS, ROOT, THREADS, child, table
from rectexport.runtime.base.environment import version
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.machine import machine
from rectexport.runtime.timing.process import Contestant, TimingProcess, started
from rectexport.runtime.timing.stopwatch import Race, Timing, race

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
SIMPLIFIERS = ("onnxsim", "onnxslim")
OURS, TWIN, EAGER, COMPILED = "ours", "twin", "PyTorch eager", "torch.compile"
#: The files that every engine runs besides ours, and their column.
FILES = {"plain": "torch.onnx.export", "onnxsim": "onnxsim", "onnxslim": "onnxslim"}
TORCH_WORKER = "rectexport.exporter.tools.torch_worker"
#: Seconds of timing for each model of a network, and of a burst.
SECONDS, BURST = 1.5, 0.1
#: Minutes after which no further network is begun.
MINUTES = 25.0
#: Conclusions written by hand, copied into the page.
NOTES = Path(__file__).with_name("networks.md")


@dataclass(frozen=True)
class Network:
    """A network of the zoo, with its options, and the network that it is compared with: the plain one of its class."""

    name: str
    twin: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    twin_options: Mapping[str, Any] = field(default_factory=dict)
    against: str = ""


def _rectified(name: str) -> Network:
    return Network(name, name, {"conv": "rectified"}, {"conv": "plain"}, "plain convolutions")


#: One network of each family: a small one. The twins of C2sp and CReLU are those that the papers compare them with.
NETWORKS: tuple[Network, ...] = (
    _rectified("digits"),
    _rectified("resnet20"),
    _rectified("plain38"),
    _rectified("preresnet62"),
    _rectified("dfn_mr1"),
    Network("convpool_cnn_c_half", "convpool_cnn_c_relu", against="ReLU, all filters"),
    Network("vgg13conv_crelu1_3_5_half", "vgg13conv_relu", against="ReLU, all filters"),
    Network("all_cnn_b_crelu_all_half", "all_cnn_b_relu", against="ReLU, all filters"),
    Network("pvanet_crelu"),
    Network("c2sp_resnet50_0_5x", "c3_resnet50_0_5x", against="3×3"),
    _rectified("m5"),
    _rectified("resnet18"),
    _rectified("resnet50"),
    _rectified("regnet_x_4gf"),
    _rectified("resnest50_fast_2s8x"),
    _rectified("vgg16"),
    Network("inpainting_unet", "inpainting_unet", {"conv": "masked"}, {"conv": "plain"}, "convolutions without a mask"),
    _rectified("r3d_18"),
)


def main() -> None:
    """Prepare and time each network that has no figures yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[entry.name for entry in NETWORKS], default=[], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of timing for each model (default %(default)s)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="begin no network after these (default %(default)s); run it again",
    )
    parser.add_argument("--anew", action="store_true", help="measure again what was measured before")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="0.3 s for each model, into out/networks")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](*options.child[1:])))
        return
    out = ROOT / "out" / "networks" if options.quick else DOCS
    out.mkdir(parents=True, exist_ok=True)
    kept = read(out / "networks.json", options.anew and not options.only)
    last = time.perf_counter() + 60 * options.minutes
    chosen = [entry for entry in NETWORKS if not options.only or entry.name in options.only]
    for entry in [] if options.report else chosen:
        if entry.name in kept["networks"] and not (options.anew or options.only):
            continue
        begin = time.perf_counter()
        if begin > last:
            print(f"{entry.name} and what follows: not begun; run it again")
            break
        kept["networks"][entry.name] = measured(entry, 0.3 if options.quick else options.seconds)
        print(f"{entry.name}: {time.perf_counter() - begin:.0f} s", flush=True)
        (out / "networks.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (out / "networks.md").write_text(page(kept), encoding="utf-8")
    print(f"wrote {out / 'networks.md'}")


def read(path: Path, anew: bool) -> dict[str, Any]:
    """What was measured on this machine with these versions; nothing of another."""
    here = {**machine(), **{name: version(name) for name in ("torch", *SIMPLIFIERS)}}
    if path.is_file() and not anew:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["machine"] == here:
            return kept
    return {"machine": here, "date": date.today().isoformat(), "networks": {}}


def measured(network: Network, seconds: float) -> dict[str, Any]:
    """The figures of one network."""
    with TemporaryDirectory() as folder:
        told = child("networks", "--child", "prepare", network.name, folder)
        for tool in SIMPLIFIERS:
            told["failed"] |= _simplified(tool, folder)
        told["operators"] = graphs(Path(folder))
        times = raced(contestants(Path(folder), told), seconds)
    found = figures(times, told)
    return {**found, "failed": {name: why.replace(f"{folder}/", "") for name, why in found["failed"].items()}}


def _simplified(tool: str, folder: str) -> dict[str, str]:
    """Run a tool in a process of its own, which it may end. Returns why it failed, by its name."""
    try:
        child("networks", "--child", "simplify", tool, folder)
    except SystemExit as error:
        return {tool: str(error).strip().splitlines()[-1][:200]}
    return {}


def prepare(name: str, folder: str) -> dict[str, Any]:
    """Write a network's packages, checkpoint and plain file. Returns its inputs and what failed."""
    import torch

    import rectexport
    from rectexport.models.checkpoint import save_checkpoint
    from rectexport.models.registry import model_entry
    from rectexport.models.tools.seeded import seeded_model

    network = next(entry for entry in NETWORKS if entry.name == name)
    shape = (1, *model_entry(name).input_shape)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    model = seeded_model(name, **network.options)
    save_checkpoint(f"{folder}/net.pt", name, dict(network.options), model, example)
    _export_plain(model, example, f"{folder}/plain.onnx")
    rectexport.export(model, (example,), f"{folder}/{OURS}", target=",".join(ENGINES), report=False)
    if network.twin:
        twin = seeded_model(network.twin, **network.twin_options)
        rectexport.export(twin, (example,), f"{folder}/{TWIN}", target=",".join(ENGINES), report=False)
    return {"inputs": [["x", "float32", list(shape)]], "failed": {}}


def _export_plain(model: Any, example: Any, path: str) -> None:
    """What torch.onnx.export writes by itself; our layers' operators become the standard ones that they stand for."""
    import onnx
    import torch
    from onnx import inliner

    from rectexport.exporter.graph import dialect
    from rectexport.exporter.tracing import translation

    made: Any = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=18,
        input_names=["x"],
        custom_translation_table=translation.table(),
        verbose=False,
    )
    written = made.model_proto
    dialect.attach_functions(written)
    onnx.save_model(inliner.inline_local_functions(dialect.with_defaults(written)), path)


def simplify(tool: str, folder: str) -> dict[str, Any]:
    """Write the plain file as a tool simplifies it."""
    import onnx

    module: Any = import_module(tool)
    model = onnx.load(f"{folder}/plain.onnx")
    simplified = module.simplify(model)[0] if tool == "onnxsim" else module.slim(model)
    onnx.save_model(simplified, f"{folder}/{tool}.onnx")
    return {}


CHILDREN: dict[str, Any] = {"prepare": prepare, "simplify": simplify}


def graphs(folder: Path) -> dict[str, dict[str, int]]:
    """Nodes by operator of each file that an engine runs, ours and the others'."""
    import onnx

    from rectexport.exporter.writing.neighbourhood import operators

    files = {column: folder / f"{file}.onnx" for file, column in FILES.items()}
    if (folder / OURS).is_dir():
        package = Package.open(folder / OURS)
        files |= {f"{OURS}, {engine}": package.model_for(engine) for engine in ENGINES}
    found = {name: path for name, path in files.items() if path.is_file()}
    return {name: dict(operators(onnx.load(path, load_external_data=False))) for name, path in found.items()}


def contestants(folder: Path, told: Mapping[str, Any]) -> list[Contestant]:
    """All models of one network."""
    common = {"threads": THREADS, "inputs": told["inputs"]}
    found = []
    for name in (OURS, TWIN):
        if (folder / name).is_dir():
            spec = {**common, "package": str(folder / name), "allow_unproven": True}
            found += [Contestant(f"{name}, {engine}", {**spec, "engine": engine}) for engine in ENGINES]
    for file, column in FILES.items():
        path = folder / f"{file}.onnx"
        if path.is_file():
            spec = {**common, "model": str(path)}
            found += [Contestant(f"{column}, {engine}", {**spec, "engine": engine}) for engine in ENGINES]
    torch_spec = {**common, "source": str(folder / "net.pt"), "device": "cpu", "transfers": True}
    for name, compiled in ((EAGER, False), (COMPILED, True)):
        found.append(Contestant(name, {**torch_spec, "compile": compiled}, TORCH_WORKER))
    return [_with_input_names(entry) for entry in found]


def _with_input_names(entry: Contestant) -> Contestant:
    """A package and a file know their own inputs, whose names differ; PyTorch is told."""
    if entry.module == TORCH_WORKER:
        return entry
    return Contestant(entry.name, {key: value for key, value in entry.spec.items() if key != "inputs"}, entry.module)


class Lenient:
    """A timing process whose model may fail to load: it is left out of the figures then."""

    def __init__(self, process: TimingProcess) -> None:
        self._process = process
        self.said: dict[str, Any] = {}

    def wait_ready(self) -> None:
        try:
            self._process.wait_ready()
            self.said = self._process.said
        except RectexportError as error:
            self.said = {"failed": str(error)[:300]}

    def burst(self, seconds: float) -> list[float]:
        if "failed" not in self.said:
            try:
                return self._process.burst(seconds)
            except RectexportError as error:
                self.said = {"failed": str(error)[:300]}
        return [math.nan]


@contextmanager
def lenient(contestant: Contestant) -> Iterator[Lenient]:
    """Like rectexport.runtime.timing.process.started."""
    with started(contestant) as process:
        yield Lenient(process)


def raced(models: Sequence[Contestant], seconds: float) -> dict[str, Timing]:
    """Times by name."""
    return race(models, Race(seconds, warm_up=BURST, launches=1, burst=BURST), start=lenient)


def figures(times: Mapping[str, Timing], told: Mapping[str, Any]) -> dict[str, Any]:
    """Milliseconds by name; ratios of our faster engine to every other way, and of the network to its twin, with ±."""
    failed = {
        **told["failed"],
        **{name: entry.said["failed"] for name, entry in times.items() if "failed" in entry.said},
    }
    ran = {name: entry for name, entry in times.items() if name not in failed}
    ours = [name for name in ran if name.startswith(f"{OURS}, ")]
    best = min(ours, key=lambda name: ran[name].median)
    rivals = [name for name in ran if not name.startswith((f"{OURS}, ", f"{TWIN}, "))]
    pairs = {engine: (f"{OURS}, {engine}", f"{TWIN}, {engine}") for engine in ENGINES}
    return {
        "ms": {name: round(entry.median * 1e3, 4) for name, entry in ran.items()},
        "best": best,
        "ratios": {name: _ratio(ran[best], ran[name]) for name in rivals},
        "cost": {engine: _ratio(ran[a], ran[b]) for engine, (a, b) in pairs.items() if a in ran and b in ran},
        "failed": failed,
        "operators": told.get("operators", {}),
    }


def _ratio(timing: Timing, base: Timing) -> list[float]:
    compared = timing.against(base)
    return [round(compared.ratio, 4), round(compared.noise, 4)]


def page(document: Mapping[str, Any]) -> str:
    """The Markdown page."""
    here, networks = document["machine"], document["networks"]
    rivals = [EAGER, COMPILED, *(f"{column}, {engine}" for column in FILES.values() for engine in ENGINES)]
    headings = ["network", "ours, ms", *(_heading(name) for name in rivals), "place"]
    rows = [[name, _ours(row), *(_cell(row, rival) for rival in rivals), place(row)] for name, row in networks.items()]
    costs = [
        [entry.name, entry.against, *(_pair(networks[entry.name]["cost"].get(engine)) for engine in ENGINES)]
        for entry in NETWORKS
        if entry.name in networks and networks[entry.name]["cost"]
    ]
    versions = ", ".join(f"{name} {here[name]}" for name in (*ENGINES, "torch", *SIMPLIFIERS) if here.get(name))
    places = Counter(place(row).partition(":")[0].partition(",")[0] for row in networks.values())
    failures = [f"- {name}: {what}: {why}" for name, row in networks.items() for what, why in row["failed"].items()]
    parts = [
        f"""# Whole networks

Written by `.venv/bin/python -m benchmarks.networks` on {document["date"]}: {here["processor"]}, {here["cores"]} cores,
{versions}.

One network of each family of the zoo, with seeded weights, fp32, batch 1, its native size, {THREADS} threads. *Ours* is
the package that `rectexport` writes for both engines, on the faster one. The others are PyTorch eager, torch.compile
with its defaults, and on each engine the file of torch.onnx.export, alone and after onnxsim and onnxslim; in it, the
operators of our layers are the standard ones that they stand for. Each model runs alone in its process, and the models
of a network take turns in rounds. A cell gives milliseconds, and our time divided by that one's, in the same rounds,
with half of a 95 % interval: below 1 ours is faster.

Ours is first in {places["first"]} of {len(networks)}.

{table(headings, rows)}
""",
        f"""## What our layers cost

The network's time divided by that of the network it replaces, both as packages of ours, in the same rounds.

{table(["network", "compared with", *ENGINES.values()], costs)}
""",
    ]
    if failures:
        parts.append("## What did not run\n\n" + "\n".join(failures) + "\n")
    if NOTES.exists():
        parts.append(NOTES.read_text(encoding="utf-8"))
    return "\n".join(parts)


def _heading(name: str) -> str:
    column, _, engine = name.partition(", ")
    return f"{column}, {ENGINES[engine]}" if engine else column


def _ours(row: Mapping[str, Any]) -> str:
    return f"{row['ms'][row['best']]:.2f} ({_heading(row['best']).partition(', ')[2]})"


def _cell(row: Mapping[str, Any], rival: str) -> str:
    return f"{row['ms'][rival]:.2f}; {_pair(row['ratios'][rival])}" if rival in row["ratios"] else "–"


def _pair(ratio: Sequence[float] | None) -> str:
    return "" if ratio is None else f"{ratio[0]:.2f} ± {ratio[1]:.2f}"


def place(row: Mapping[str, Any]) -> str:
    """Whether ours is first, or who is faster and by how much."""
    faster = {name: ratio for name, (ratio, noise) in row["ratios"].items() if ratio - noise > 1}
    if faster:
        name = max(faster, key=lambda rival: faster[rival])
        return f"not first: {_heading(name)} takes {1 / faster[name]:.2f} of our time{_why(row, name)}"
    near = [_heading(name) for name, (ratio, noise) in row["ratios"].items() if ratio + noise >= 1]
    return f"first, together with {', '.join(near)}" if near else "first"


def _why(row: Mapping[str, Any], rival: str) -> str:
    """How our graph for the rival's engine differs from its; empty for PyTorch, whose graph is another kind."""
    column, _, engine = rival.partition(", ")
    own, other = row["operators"].get(f"{OURS}, {engine}"), row["operators"].get(column)
    if own is None or other is None:
        return ""
    changes = {name: own.get(name, 0) - other.get(name, 0) for name in sorted({*own, *other})}
    differing = ", ".join(f"{count:+d} {name}" for name, count in changes.items() if count)
    return f"; our graph there: {differing or 'the same operators'}"


if __name__ == "__main__":
    main()
