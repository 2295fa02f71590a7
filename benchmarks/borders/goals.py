"""Time borders of values against zero padding, and the masked U-Net against its unmasked twin.

    python -m benchmarks.borders.goals            about 25 minutes on an idle machine
    python -m benchmarks.borders.goals --borders circular --seconds 300    these chains alone; the other figures stay
    python -m benchmarks.borders.goals --quick    one small shape, to check that everything works; writes to out/borders

Writes docs/boundaries.json and, from it, the section of docs/boundaries.md; --report writes the section alone.

Chains of 3×3 convolutions with 32 to 128 channels at 56×56, 96×192 and 181×360, in every form of their border: at most
1.05 of the zero-padded twin for circular borders, 1.15 for the others, and no slower than as written. The masked U-Net:
at most 1.10 of its unmasked twin and the mask's branch together; at odd sizes and with masks of every kind within 1e-5
of PyTorch. Forms are chosen by the committed cost tables: run `make costs` before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto

from benchmarks import chains
from benchmarks.borders import goals_page
from benchmarks.cases import FLOOR, Case, Kind, serialized
from benchmarks.chains import Chain
from benchmarks.common import DOCS, ROOT
from rectexport import export, load
from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.lowering.machinery.costs import load_costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.models.tools.seeded import seeded_model
from rectexport.runtime.timing import stopwatch
from rectexport.runtime.timing.machine import machine
from rectexport.runtime.timing.stopwatch import Comparison, Timing

ENGINES = ("onnxruntime", "openvino")
SECONDS, QUICK_SECONDS = 1350.0, 30.0
#: Shares of the time: for the chains, and for the U-Net. Its exports take the rest.
CHAIN_SHARE, NET_SHARE = 0.65, 0.10
PLANES = ((56, 56), (96, 192), (181, 360))
CHANNELS = (32, 64, 128)
#: Layers of a chain.
LAYERS = 4
MASKED_SIZES = (256, 512)
PARITY_SIZES = ((301, 259), (333, 470))
#: Shares of known pixels.
MASKS = {"half": 0.5, "thin": 0.02, "all": 1.0, "none": 0.0}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape; writes to out/borders")
    parser.add_argument("--seconds", type=float, help=f"time for the whole run (default {SECONDS:.0f})")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--borders", nargs="+", choices=list(goals_page.GOALS), help="chains of these borders alone")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    docs = quick_docs() if options.quick else DOCS
    if not options.report:
        seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
        if options.borders:
            found = again(docs / goals_page.JSON, options.borders, options.engines, seconds)
        else:
            found = measured(options.quick, options.engines, seconds)
        (docs / goals_page.JSON).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    document = json.loads((docs / goals_page.JSON).read_text(encoding="utf-8"))
    goals_page.write(document, docs)


def quick_docs() -> Path:
    """A folder with a copy of the page."""
    folder = ROOT / "out" / "borders"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DOCS / goals_page.PAGE, folder)
    return folder


def measured(quick: bool, engines: list[str], seconds: float) -> dict[str, Any]:
    """All rows, with machine and date."""
    begin = time.perf_counter()
    rows = chain_rows(grid(quick), engines, CHAIN_SHARE * seconds)
    sizes = (64,) if quick else MASKED_SIZES
    share = NET_SHARE * seconds / len(sizes) / len(engines)
    nets = [row for size in sizes for row in masked_rows(size, engines, share)]
    parity = parity_rows(engines, quick)
    took = round(time.perf_counter() - begin)
    head = {"machine": machine(), "date": date.today().isoformat(), "seconds": took}
    return {**head, "chains": rows, "masked": nets, "parity": parity}


def again(path: Path, borders: list[str], engines: list[str], seconds: float) -> dict[str, Any]:
    """The kept figures, with these borders' chains measured anew.

    Raises SystemExit where the others are of another machine.
    """
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if kept["machine"] != machine():
        raise SystemExit(f"the other figures are of another machine, {kept['machine']}: measure all borders")
    cases = [case for case in grid() if case.kind.title in borders]
    fresh = {_identity(row): row for row in chain_rows(cases, engines, seconds)}
    rows = [fresh.get(_identity(row), row) for row in kept["chains"]]
    return {**kept, "date": date.today().isoformat(), "chains": rows}


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["border"], row["engine"], row["channels"], tuple(row["plane"]))


def grid(quick: bool = False) -> list[Case]:
    """A case for each border, plane and number of channels."""
    shapes = [(28, 28, 32)] if quick else [(*plane, channels) for plane in PLANES for channels in CHANNELS]
    cases = []
    for border in goals_page.GOALS:
        circular = border == "circular"
        operator, forms = ("circular", ("pad", "chain", "border")) if circular else ("boundary", ("strips", "border"))
        build = partial(chains.bordered, border=border)
        kind = Kind(operator, border, 3, build, chains.plain, 1.0, "zero padding", forms)
        cases += [Case(kind, Chain(channels, height, 1, LAYERS, width)) for height, width, channels in shapes]
    return cases


def chain_rows(cases: list[Case], engines: list[str], seconds: float) -> list[dict[str, Any]]:
    """A row for each case and engine, in this order; the largest are measured first, the others share what is left."""
    pairs = [(case, engine) for case in cases for engine in engines]
    rows: dict[int, dict[str, Any]] = {}
    end = time.perf_counter() + seconds
    for done, index in enumerate(sorted(range(len(pairs)), key=lambda index: -_work(pairs[index][0]))):
        case, engine = pairs[index]
        share = max(end - time.perf_counter(), 0.0) / (len(pairs) - done)
        rows[index] = chain_row(case, engine, stopwatch.measure(serialized(case.models(engine)), engine, seconds=share))
        print(f"{done + 1}/{len(pairs)} {rows[index]}", file=sys.stderr, flush=True)
    return [rows[index] for index in range(len(pairs))]


def _work(case: Case) -> int:
    chain = case.chain
    return chain.layers * chain.channels**2 * chain.size * chain.width


def chain_row(case: Case, engine: str, times: dict[str, Timing]) -> dict[str, Any]:
    """Every form relative to zero padding, and the chosen one relative to the graph as written."""
    chain, chosen = case.chain, case.chosen(load_costs(engine))
    return {
        "border": case.kind.title,
        "engine": engine,
        "channels": chain.channels,
        "plane": [chain.size, chain.width],
        "rounds": len(times[FLOOR].rounds),
        "chosen": chosen,
        "forms": {name: _plain(timing.against(times[FLOOR])) for name, timing in times.items() if name != FLOOR},
        "as_written": _plain(times[chosen].against(times[AS_WRITTEN])),
    }


def _plain(compared: Comparison) -> list[float]:
    return [round(compared.ratio, 4), round(compared.noise, 4)]


def masked_rows(size: int, engines: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each engine, from one export of either network."""
    with TemporaryDirectory() as folder:
        masked, plain = (exported(conv, size, engines, Path(folder) / conv) for conv in ("masked", "plain"))
    for engine in engines:
        yield masked_row(masked[engine], plain[engine], size, engine, seconds)


def masked_row(masked: ModelProto, plain: ModelProto, size: int, engine: str, seconds: float) -> dict[str, Any]:
    """The masked U-Net relative to its unmasked twin and the mask's branch, run one after the other."""
    models = serialized({"masked": masked, "plain": plain, "branch": mask_branch(masked)})
    times = stopwatch.measure(models, engine, seconds=seconds)
    parts = zip(times["plain"].rounds, times["branch"].rounds, strict=True)
    both = Timing(tuple(one + other for one, other in parts))
    milliseconds = {name: round(timing.median * 1e3, 3) for name, timing in times.items()}
    row = {"size": size, "engine": engine, "ms": milliseconds, "ratio": _plain(times["masked"].against(both))}
    print(row, file=sys.stderr, flush=True)
    return row


def width_of(size: int) -> float:
    """The published width at the published size; a quarter of it where the network is only tried."""
    return 1.0 if size >= MASKED_SIZES[0] else 0.25


def exported(conv: str, size: int, engines: list[str], folder: Path) -> dict[str, ModelProto]:
    """The U-Net as exported for each engine, masked or plain."""
    model = seeded_model("inpainting_unet", conv=conv, width=width_of(size))
    package = export(model, image(size, size, 0.5), folder, target=",".join(engines))
    return {engine: onnx.load(package.model_for(engine)) for engine in engines}


def image(height: int, width: int, known: float) -> torch.Tensor:
    """[1, 4, H, W]: an image and its alpha; the lower half is a hole unless all pixels are known or none."""
    generator = torch.Generator().manual_seed(height)
    x = torch.randn(1, 4, height, width, generator=generator)
    x[:, 3] = (torch.rand(1, height, width, generator=generator) < known).float()
    if 0 < known < 1:
        x[:, 3, height // 2 :] = 0
    return x


def mask_branch(model: ModelProto) -> ModelProto:
    """The part of a masked network that computes what the layers are multiplied by."""
    graph = open_graph(model)
    ratios = [node.inputs[1] for node in graph.nodes if node.name.startswith("masked_scale")]
    graph.outputs = [*{id(tensor): tensor for tensor in ratios}.values()]
    return close_graph(graph.cleanup(), model)


def parity_rows(engines: list[str], quick: bool) -> list[dict[str, Any]]:
    """Relative L2 of the masked U-Net to PyTorch, at odd sizes and with masks of every kind."""
    sizes = ((65, 71),) if quick else PARITY_SIZES
    model = seeded_model("inpainting_unet", width=width_of(min(sizes[0])))
    found = []
    for size in sizes:
        with TemporaryDirectory() as folder:
            export(model, image(*size, 0.5), Path(folder) / "net", target=",".join(engines))
            for engine in engines:
                errors = session_errors(model, Path(folder) / "net", engine, size)
                found += [
                    {"engine": engine, "size": list(size), "known": kind, "error": e} for kind, e in errors.items()
                ]
                print(engine, size, errors, file=sys.stderr, flush=True)
    return found


def session_errors(model: torch.nn.Module, package: Path, engine: str, size: tuple[int, int]) -> dict[str, float]:
    """Relative L2 of a package on an engine for each kind of mask."""
    errors = {}
    with load(package, backend=engine) as session, torch.no_grad():
        for kind, known in MASKS.items():
            x = image(*size, known)
            expected, answer = model(x).numpy(), session(x.numpy())
            errors[kind] = float(np.linalg.norm(answer - expected)) / (float(np.linalg.norm(expected)) or 1.0)
    return errors


if __name__ == "__main__":
    main()
