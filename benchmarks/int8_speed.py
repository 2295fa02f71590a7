"""Time int8 against float32 and against the plain twin; writes docs/quantization.md's speeds.

    python -m benchmarks.int8_speed           RF-ResNet-50, rectified stacks, C2sp: about 8 minutes
    python -m benchmarks.int8_speed --quick   small shapes, to check that everything works; writes nothing

Run it on an otherwise idle machine. Weights are random; one thread; the models of one row are timed in interleaved
rounds, each in a process of its own.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from benchmarks import chains, nets
from benchmarks.chains import Chain
from benchmarks.common import machine, table, write_section
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.passes import lower
from rectexport.exporter.passes.lowering.machinery.costs import load_costs
from rectexport.exporter.passes.lowering.machinery.tuning import finished
from rectexport.exporter.quantize.calibration import Items
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.runtime.timing import stopwatch

ENGINES = ("onnxruntime", "openvino")
ITEMS = 16


@dataclass(frozen=True)
class Row:
    """A comparison: the models to time, and the goal for the ratio base / quick ("at least") or quick / base."""

    name: str
    engine: str
    quick: ModelProto
    base: ModelProto
    goal: float | None
    faster: bool = True


def quantized(model: ModelProto, engine: str) -> ModelProto:
    """The int8 form of a float model of static shapes, calibrated on random images; its weights are the nearest."""
    (x,) = model.graph.input
    batch, *shape = (dimension.dim_value for dimension in x.type.tensor_type.shape.dim)
    count = -(-ITEMS // batch) * batch
    images = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
    items = Items({x.name: images}, None)
    return Quantizer(model, items, (batch, batch), Int8(None), Log(), nearest=True).run(engine).model


def resnet_row(engine: str, quick: bool) -> Row:
    """RF-ResNet-50, int8 against float32."""
    size, blocks = (64, (1, 1, 1, 1)) if quick else (224, (3, 4, 6, 3))
    base, small = (
        nets.resnet50(size, 1, load_costs(engine, precision), blocks)[nets.CHOSEN] for precision in ("fp32", "int8")
    )
    goal = {"onnxruntime": 3.0, "openvino": 3.4}[engine]
    return Row(f"RF-ResNet-50, {size}², against float32", engine, quantized(small, engine), base, goal)


def stack_row(engine: str, chain: Chain) -> Row:
    """A stack of rectified convolutions against the same without rectification, both int8."""
    rectified, plain = (
        quantized(finished(lower(build(chain), load_costs(engine, "int8"))[0]), engine)
        for build in (chains.rectified, chains.plain)
    )
    goal = 1.25 if engine == "onnxruntime" and chain.size >= 56 else None
    name = f"rectified stack, {chain.channels} channels, {chain.size}², against its plain int8 twin"
    return Row(name, engine, rectified, plain, goal, faster=False)


def even_row(engine: str, chain: Chain) -> Row:
    """A stack of C2sp convolutions, int8 against float32."""
    base, small = (
        finished(lower(chains.symmetric(chain), load_costs(engine, precision))[0]) for precision in ("fp32", "int8")
    )
    name = f"C2sp stack, {chain.channels} channels, {chain.size}², against float32"
    return Row(name, engine, quantized(small, engine), base, 2.5)


def rows(quick: bool) -> list[Row]:
    """All comparisons."""
    layers = 2 if quick else 8
    shapes = ((16, 32),) if quick else ((64, 56), (32, 112), (64, 28), (128, 14))
    stacks = [Chain(channels, size, 1, layers) for channels, size in shapes]
    found = []
    for engine in ENGINES:
        found += [resnet_row(engine, quick), *(stack_row(engine, chain) for chain in stacks)]
        found.append(even_row(engine, stacks[0]))
    return found


def timed(row: Row, seconds: float) -> list[str]:
    """A line of the table."""
    models = {"quick": row.quick.SerializeToString(), "base": row.base.SerializeToString()}
    times = stopwatch.measure(models, row.engine, seconds=seconds, threads=1)
    first, second = ("base", "quick") if row.faster else ("quick", "base")
    found = times[first].against(times[second])
    goal = "" if row.goal is None else f"{'>=' if row.faster else '<='} {row.goal}"
    met = row.goal is not None and (found.ratio >= row.goal if row.faster else found.ratio <= row.goal)
    return [
        row.name,
        row.engine,
        f"{times['base'].median * 1e3:.2f}",
        f"{times['quick'].median * 1e3:.2f}",
        f"{found.ratio:.2f} ± {found.noise:.2f}",
        goal,
        "" if row.goal is None else "yes" if met else "no",
    ]


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8_speed", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=25.0, help="for each comparison (default %(default)s)")
    options = parser.parse_args()
    lines = []
    for row in rows(options.quick):
        lines.append(timed(row, 3.0 if options.quick else options.seconds))
        print(lines[-1], flush=True)
    headings = ("", "engine", "other, ms", "int8, ms", "times faster, or of the twin's time", "goal", "met")
    if not options.quick:
        write_section("quantization.md", "speed", f"{table(headings, lines)}\n\n{machine()}")


if __name__ == "__main__":
    main()
