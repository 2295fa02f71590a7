"""Time borders of values against zero padding, and the masked U-Net against its unmasked twin; prints two tables.

    python -m benchmarks.borders.goals            about 45 minutes on an idle machine
    python -m benchmarks.borders.goals --quick    one small shape, to check that everything works

Chains of 3×3 convolutions with 32 to 128 channels at 56×56, 96×192 and 181×360, in every form of their border: at most
1.05 of the zero-padded twin for circular borders, 1.15 for the others. The masked U-Net: at most 1.10 of its unmasked
twin and the mask's branch together. Forms are chosen by the committed cost tables: run `make costs` before.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import ModelProto

from benchmarks import chains
from benchmarks.cases import FLOOR, Case, Kind, serialized
from benchmarks.chains import Chain
from rectexport import export
from rectexport.exporter.graph.surgeon import close_graph, open_graph
from rectexport.exporter.passes.lowering.machinery.costs import load_costs
from rectexport.models.tools.seeded import seeded_model
from rectexport.runtime.timing import stopwatch

ENGINES = ("onnxruntime", "openvino")
SECONDS = 2700.0
PLANES = ((56, 56), (96, 192), (181, 360))
CHANNELS = (32, 64, 128)
GOALS = {"circular": 1.05, "reflect": 1.15, "replicate": 1.15}
MASKED_GOAL, MASKED_SIZES = 1.10, (256, 512)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for the whole run (default %(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options = parser.parse_args()
    seconds = 30.0 if options.quick else options.seconds
    cases = grid(options.quick)
    end, left = time.perf_counter() + 0.7 * seconds, len(cases) * len(options.engines)
    print(
        "| border | engine | channels | plane | chosen form, of zero padding | all forms | goal |\n" + "|---" * 7 + "|"
    )
    for case in cases:
        for engine in options.engines:
            models = serialized(case.models(engine))
            share = max(end - time.perf_counter(), 0.0) / left
            print(row(case, engine, stopwatch.measure(models, engine, seconds=share)), flush=True)
            left -= 1
    print("\n| masked U-Net | engine | twin and mask's branch, ms | masked, ms | ratio | goal |\n" + "|---" * 6 + "|")
    sizes = (64,) if options.quick else MASKED_SIZES
    for size in sizes:
        for engine in options.engines:
            print(masked_row(size, engine, 0.3 * seconds / len(sizes) / len(options.engines)), flush=True)


def grid(quick: bool = False) -> list[Case]:
    """A case for each border, plane and number of channels."""
    shapes = [(28, 28, 32)] if quick else [(*plane, channels) for plane in PLANES for channels in CHANNELS]
    cases = []
    for border in GOALS:
        circular = border == "circular"
        operator, forms = ("circular", ("chain", "border")) if circular else ("boundary", ("strips", "border"))
        build = partial(chains.bordered, border=border)
        kind = Kind(operator, border, 3, build, chains.plain, 1.0, "zero padding", forms)
        cases += [Case(kind, Chain(channels, height, 1, 4, width)) for height, width, channels in shapes]
    return cases


def row(case: Case, engine: str, times: dict[str, stopwatch.Timing]) -> str:
    """One line of the first table."""
    ratios = {name: timing.against(times[FLOOR]).ratio for name, timing in times.items() if name != FLOOR}
    chosen = case.chosen(load_costs(engine))
    forms = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
    plane = f"{case.chain.size}×{case.chain.width}"
    goal = GOALS[case.kind.title]
    cells = (case.kind.title, engine, case.chain.channels, plane, f"{ratios[chosen]:.3f} ({chosen})", forms, goal)
    return "| " + " | ".join(map(str, cells)) + " |"


def masked_row(size: int, engine: str, seconds: float) -> str:
    """One line of the second table."""
    width = 0.25 if size < MASKED_SIZES[0] else 1.0
    with TemporaryDirectory() as folder:
        masked, plain = (exported(conv, size, width, engine, Path(folder) / conv) for conv in ("masked", "plain"))
    models = serialized({"masked": masked, "plain": plain, "branch": mask_branch(masked)})
    times = {name: timing.median * 1e3 for name, timing in stopwatch.measure(models, engine, seconds=seconds).items()}
    floor = times["plain"] + times["branch"]
    parts = f"{times['plain']:.2f} + {times['branch']:.2f}"
    cells = (f"{size}×{size}", engine, parts, f"{times['masked']:.2f}", f"{times['masked'] / floor:.3f}", MASKED_GOAL)
    return "| " + " | ".join(map(str, cells)) + " |"


def exported(conv: str, size: int, width: float, engine: str, folder: Path) -> ModelProto:
    """The U-Net as exported for an engine, masked or plain."""
    model = seeded_model("inpainting_unet", conv=conv, width=width)
    x = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(0))
    x[:, 3] = (x[:, 3] > 0).float()
    return onnx.load(export(model, x, folder, target=engine).model_file)


def mask_branch(model: ModelProto) -> ModelProto:
    """The part of a masked network that computes what the layers are multiplied by."""
    graph = open_graph(model)
    ratios = [node.inputs[1] for node in graph.nodes if node.name.startswith("masked_scale")]
    graph.outputs = [*{id(tensor): tensor for tensor in ratios}.values()]
    return close_graph(graph.cleanup(), model)


if __name__ == "__main__":
    main()
