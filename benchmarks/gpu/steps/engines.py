"""TensorRT and ONNX Runtime CUDA, where they are installed: digits first, then ResNet-50, rectified and plain.

Packages are exported on this machine, and each engine's answers are compared with PyTorch in float64. Every result is
recorded as it comes, so an engine that takes too long to build costs only itself and what follows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rectexport
from benchmarks.gpu.bench import Bench, milliseconds, ratio
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.registry import create_model, model_entry
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import BackendOptions, Runner
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.backends import BACKENDS
from rectexport.runtime.engines.tensorrt import cuda, versions
from rectexport.runtime.engines.tensorrt.building.acceptance import allowed
from rectexport.runtime.engines.tensorrt.building.building import ensure_plan, plugins_of
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import Plan
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.engines.tensorrt.running.runner import open_runner
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package

ANSWERS, LATENCY = "Answers of the engines", "Latency of the engines"
PRECISIONS = ("fp32", "fp16", "bf16")
BATCHES = (1, 8, 32)


def run(bench: Bench) -> None:
    """Digits in every precision on every engine, then the pair."""
    opened = dict(_engines(bench))
    if not opened:
        return
    for precision in PRECISIONS:
        package = _digits(bench, precision)
        for name, open_package in opened.items():
            _check(bench, f"digits, {precision}", name, package, precision, open_package)
    pair = {kind: _resnet(bench, kind) for kind in ("plain", "rectified")}
    for name, open_package in opened.items():
        for kind, package in pair.items():
            _check(bench, f"ResNet, {kind}, fp16", name, package, "fp16", open_package)
    if "tensorrt" in opened:
        race(bench, pair, _batches(bench))


def _engines(bench: Bench) -> Iterator[tuple[str, Callable[[Package], Runner]]]:
    """Name -> how a package is opened; what is missing is recorded. A dry run takes ONNX Runtime on the CPU."""
    table = {backend.name: backend for backend in BACKENDS}
    for name in ("tensorrt", "cuda", *(["onnxruntime"] if bench.dry else [])):
        reason = table[name].absent()
        if reason:
            bench.record.skip(name, reason)
        elif name == "tensorrt":
            yield name, lambda package: open_runner(_built(bench, package).package)
        else:
            yield name, lambda package, backend=table[name]: backend.open(package, BackendOptions())  # type: ignore[misc]


def _digits(bench: Bench, precision: str) -> Package:
    model = build(read_checkpoint(bench.sources / "models" / "checkpoints" / "digits.pt"))
    axes = {0: torch.export.Dim("batch", min=1, max=32)}
    axes |= {axis: torch.export.Dim(name, min=5, max=32) for axis, name in ((2, "height"), (3, "width"))}
    return _exported(bench, f"digits-{precision}", model, torch.randn(2, 1, 8, 8), axes, precision)


def _resnet(bench: Bench, kind: str) -> Package:
    torch.manual_seed(0)
    name = "digits" if bench.dry else "resnet50"
    example = torch.randn(2, *model_entry(name).input_shape)
    axes = {0: torch.export.Dim("batch", min=1, max=max(BATCHES))}
    return _exported(bench, f"resnet-{kind}", create_model(name, conv=kind).eval(), example, axes, "fp16")


def _exported(
    bench: Bench, name: str, model: torch.nn.Module, example: torch.Tensor, axes: dict[int, Any], precision: str
) -> Package:
    out, fp16, bf16 = bench.work / "packages" / name, precision == "fp16", precision == "bf16"
    return rectexport.export(model, (example,), out, (axes,), target="tensorrt", guard=False, fp16=fp16, bf16=bf16)


def _batches(bench: Bench) -> tuple[int, ...]:
    return (1, 2) if bench.dry else BATCHES


def _built(bench: Bench, package: Package) -> Any:
    options = BuildOptions(
        make_profiles(package.manifest.inputs),
        timing_cache=bench.work / "timing.cache",
        plugins=plugins_of(package, ()),
    )
    return ensure_plan(package.path, options, versions.load())


def _check(
    bench: Bench, what: str, engine: str, package: Package, precision: str, open_package: Callable[[Package], Runner]
) -> None:
    """Run the goldens three times; an engine with CUDA graphs uses one from the second run on."""
    if bench.left() <= 0:
        bench.record.skip(f"{what} on {engine}", "out of time")
        return
    row: dict[str, Any] = {"package": what, "engine": engine}
    feeds, wanted = package.goldens()
    bound = allowed(package, precision)
    try:
        runner = open_package(package)
        try:
            distances = [
                compare(wanted[name], value).relative_l2 for _ in range(3) for name, value in runner.run(feeds).items()
            ]
        finally:
            runner.close()
    except RectexportError as error:
        bench.record.row(ANSWERS, **row, verdict="no answer")
        refused = engine == "onnxruntime" and precision == "bf16"  # its CPU has no bfloat16 convolution
        (bench.record.note if refused else bench.record.fail)(f"{what} on {engine}: {error}")
        return
    good = max(distances) <= bound
    verdict = "agrees" if good else "DIFFERS"
    bench.record.row(ANSWERS, **row, relative_l2=f"{max(distances):.1e}", allowed=f"{bound:.0e}", verdict=verdict)
    if not good:
        bench.record.fail(f"{what} on {engine}: relative L2 {max(distances):.1e}, allowed {bound:.0e}")


def race(bench: Bench, pair: dict[str, Package], batches: tuple[int, ...]) -> None:
    """TensorRT's latency of both packages in turn, launch by launch and as a CUDA graph, without transfers."""
    for batch in batches:
        with ExitStack() as stack:
            clocks = {}
            for kind, package in pair.items():
                if bench.left() <= 0:
                    bench.record.skip(f"latency of {kind}, batch {batch}", "out of time")
                    return
                for way, lane in _lanes(bench, package, batch, stack):
                    clocks[f"{kind}, {way}"] = lambda count, lane=lane: float(np.median(lane.time(count)))
            times = bench.rounds(clocks)
        for name, rounds in times.items():
            base = times[f"plain, {name.rpartition(', ')[2]}"]
            bench.record.row(
                LATENCY, engine=name, batch=batch, ms=milliseconds(rounds), **{"to plain": ratio(rounds, base)}
            )


def _lanes(bench: Bench, package: Package, batch: int, stack: ExitStack) -> Iterator[tuple[str, Lane]]:
    """The engine for one batch size, bound twice: for single launches and for a CUDA graph."""
    api, entry = versions.load(), package.manifest.inputs[0]
    shape = (batch, *(int(size) for size in entry.shape[1:]))
    copied = Package.open(_copy(package.path, bench.work / "packages" / f"{package.path.name}-{batch}"))
    options = BuildOptions(({entry.name: ShapeRange(shape, shape, shape)},), timing_cache=bench.work / "timing.cache")
    plan: Plan = ensure_plan(copied.path, options, api).plan
    engine = Engine(plan.read(Package.open(copied.path)), api, plan.file)
    stack.callback(engine.close)
    stack.enter_context(cuda.driver().active())
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    for way, graphs in (("eager", False), ("graph", True)):
        lane = Lane(engine, graphs)
        stack.callback(lane.close)
        lane.bind(0, {entry.name: shape})
        lane.load({entry.name: x})
        yield way, lane


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
