"""Latency on the GPU: the rectified ResNet-50 and its plain twin, every form of every operator, batch 1, 8 and 32.

python -m benchmarks.gpu.bench [--folder build/gpu] [--seconds 480]

Times are taken between CUDA events, without transfers: kernel by kernel (eager) and as one CUDA graph. All forms of a
group take turns in rounds; ratios are computed within a round. Inputs are standard normal. Needs the runtime and
TensorRT; without them everything is skipped. Ends within nine minutes and prints the tables last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.plan import FOLDER, ROOT, SECONDS, Deadline, Section, finish, prepared, write_record
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt import cuda, versions
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.building.inspector import Layer, read_layers
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.timing.stopwatch import Timing

HEADINGS = ("form", "precision", "batch", "eager, ms", "graph, ms", "p90", "p99", "to the base", "layers")
WARM_UP_MS, ROUND_MS, ROUNDS = 200.0, 15.0, 15
#: Most layers of an engine that are listed.
LISTED = 24


@dataclass
class Contestant:
    """One engine at one batch size, bound twice: for single kernels and for CUDA graphs."""

    entry: dict[str, Any]
    batch: int
    eager: Lane
    graph: Lane
    layers: Sequence[Layer]
    rounds: dict[str, list[list[float]]] = field(default_factory=lambda: {"eager": [], "graph": []})

    def warm_up(self) -> None:
        """Run until the GPU's clocks have risen; the second inference captures the graph."""
        for lane in (self.eager, self.graph):
            spent = 0.0
            while spent < WARM_UP_MS:
                spent += sum(lane.time(10))

    def round(self) -> None:
        """Time one burst of each kind."""
        for name, lane in (("eager", self.eager), ("graph", self.graph)):
            once = lane.time(1)[0]
            self.rounds[name].append(lane.time(int(min(max(ROUND_MS / max(once, 1e-3), 5), 500))))

    def timing(self, kind: str) -> Timing:
        """The median of each round, in seconds."""
        return Timing(tuple(float(np.median(burst)) / 1e3 for burst in self.rounds[kind]))

    def row(self, base: Contestant) -> tuple[str, ...]:
        """One line of the table."""
        compared = self.timing("graph").against(base.timing("graph"))
        p90, p99 = np.percentile(np.concatenate(self.rounds["graph"]), (90, 99))
        form, precision = self.entry["form"], self.entry["precision"]
        times = [f"{self.timing(kind).median * 1e3:.3f}" for kind in ("eager", "graph")]
        ratio = f"{compared.ratio:.3f} ± {compared.noise:.3f}"
        return form, precision, str(self.batch), *times, f"{p90:.3f}", f"{p99:.3f}", ratio, str(len(self.layers))


def main() -> None:
    """Measure every group, then run the kernel's own benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="start nothing later (default %(default)s)")
    options = parser.parse_args()
    deadline, found, absent = Deadline(options.seconds), prepared(options.folder), versions.absence()
    sections = []
    if isinstance(found, str) or absent:
        section = Section("Latency", HEADINGS)
        for what, reason in (("forms", found), ("TensorRT", absent)):
            if isinstance(reason, str):
                section.skip(what, reason)
        sections.append(section)
    else:
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in found["forms"]:
            groups[entry["group"]].append(entry)
        with tempfile.TemporaryDirectory(prefix="rectexport-gpu-") as work:
            for group, entries in groups.items():
                sections.append(measure(group, entries, options.folder, Path(work), versions.load(), deadline))
    sections.append(kernel(deadline))
    finish(sections, lambda: write_record(sections))


def measure(
    group: str, entries: list[dict[str, Any]], folder: Path, work: Path, api: Api, deadline: Deadline
) -> Section:
    """Build all engines of a group, then time them in turn at each batch size and precision."""
    section = Section(f"Latency: {group}", HEADINGS)
    with ExitStack() as stack:
        contestants: list[Contestant] = []
        for entry in entries:
            what = f"{entry['form']} {entry['precision']}, batch {'/'.join(map(str, entry['batches']))}"
            if late := deadline.passed():
                section.skip(what, late)
                continue
            try:
                contestants += _open(entry, folder, work, api, stack)
                print(f"built {group}: {what}", flush=True)
            except RectexportError as error:
                section.skip(what, str(error))
        for batch, precision in sorted({(one.batch, one.entry["precision"]) for one in contestants}):
            _race(section, [one for one in contestants if (one.batch, one.entry["precision"]) == (batch, precision)])
        section.notes += [_list(one) for one in contestants if one.batch == 1]
    return section


def _open(entry: dict[str, Any], folder: Path, work: Path, api: Api, stack: ExitStack) -> list[Contestant]:
    shapes = [(batch, *entry["shape"]) for batch in entry["batches"]]
    profiles = tuple({entry["input"]: ShapeRange(shape, shape, shape)} for shape in shapes)
    plugins = _plugins(entry)
    options = BuildOptions(profiles, timing_cache=work / "timing.cache", plugins=plugins)
    model = Model(folder / entry["path"], entry["precision"], frozenset(entry["kept"]))
    engine = Engine(build_engine(model, options, api), api, entry["path"], plugins)
    stack.callback(engine.close)
    stack.enter_context(cuda.driver().active())  # streams and copies need a current context
    layers = read_layers(engine.inspect())
    made = []
    for index, shape in enumerate(shapes):
        lanes = [Lane(engine, graphs) for graphs in (False, True)]
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        for lane in lanes:
            stack.callback(lane.close)
            lane.bind(index, {entry["input"]: shape})
            lane.load({entry["input"]: x})
        made.append(Contestant(entry, shape[0], lanes[0], lanes[1], layers))
    return made


def _plugins(entry: dict[str, Any]) -> tuple[Path, ...]:
    if entry["form"] != "plugin" or find_spec("rectexport.runtime.engines.tensorrt.plugins") is None:
        return ()
    found = import_module("rectexport.runtime.engines.tensorrt.plugins").plugin_library()
    return () if found is None else (Path(found),)


def _race(section: Section, contestants: list[Contestant]) -> None:
    for one in contestants:
        one.warm_up()
    for turn in range(ROUNDS):
        start = turn % len(contestants)
        for one in contestants[start:] + contestants[:start]:
            one.round()
    base = next((one for one in contestants if one.entry["form"] == one.entry["base"]), contestants[0])
    section.rows += [one.row(base) for one in contestants]


def _list(one: Contestant) -> str:
    """An engine's layers by the names that TensorRT gave them, which show what was fused."""
    names = [f"{layer.kind} {layer.precision or ''}: {layer.name}" for layer in one.layers[:LISTED]]
    more = [f"… and {len(one.layers) - LISTED} more"] if len(one.layers) > LISTED else []
    title = f"{one.entry['form']}, {one.entry['precision']}: {len(one.layers)} layers"
    return "\n".join([f"<details><summary>{title}</summary>", "", "```", *names, *more, "```", "", "</details>"])


def kernel(deadline: Deadline) -> Section:
    """Run the script that measures the rectification kernel alone."""
    section = Section("The rectification kernel", ("",))
    if find_spec("benchmarks.gpu_kernel") is None:
        section.skip("kernel", "not part of this build")
        return section
    if late := deadline.passed():
        section.skip("kernel", late)
        return section
    command = [sys.executable, "-m", "benchmarks.gpu_kernel", "--only", "bench"]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(deadline.left, 30))
    except subprocess.TimeoutExpired:
        section.skip("kernel", "its benchmark exceeded the time limit")
    else:
        section.notes.append(ran.stdout.strip() or f"nothing was printed: {ran.stderr.strip()[-300:]}")
    return section


if __name__ == "__main__":
    main()
