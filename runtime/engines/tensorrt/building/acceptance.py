"""Rejects a new engine unless it matches the reference.

A parser may accept a model and misread it: TensorRT 8.6 reads ReduceMean of opset 18 without an error and averages over
all axes, the batch included. So every build ends with a run of the package's goldens.
"""

from __future__ import annotations

from typing import Any

from rectexport.runtime.base.metrics import compare
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.profiles import choose
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.errors import Option, ParityError
from rectexport.runtime.package.folder import GOLDENS, Package

#: Allowed relative L2 from PyTorch in float64, by the engine's precision. Float32 kernels of a GPU may transform
#: (Winograd) and sum in any order; a misread model is off by 0.1 or more.
RELATIVE_L2 = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 5e-3, "bf16": 2e-2}


def allowed(package: Package, precision: str) -> float:
    """The allowed relative L2 for this package in that precision; the manifest's tolerance if it is wider."""
    return max(package.manifest.tolerances.get("relative_l2", 0.0), RELATIVE_L2[precision])


def accept(engine: Engine, package: Package, precision: str) -> dict[str, Any] | None:
    """Run the package's goldens and compare. Returns relative_l2 of the worst output and its bound, for the manifest.

    None if the package has no goldens, or no profile contains their shapes. Raises ParityError when an output exceeds
    the bound.
    """
    if GOLDENS not in package.manifest.files:
        return None
    feeds, wanted = package.goldens()
    shapes = {name: array.shape for name, array in feeds.items()}
    profile = choose(engine.profiles, shapes)
    if profile is None:
        return None
    with cuda.driver().active():
        lane = Lane(engine, graphs=False)
        try:
            lane.bind(profile, shapes)
            results = lane.run({spec.name: feeds[spec.name].astype(spec.dtype, order="C") for spec in engine.inputs})
        finally:
            lane.close()
    bound = allowed(package, precision)
    distances = {name: compare(value, results[name]).relative_l2 for name, value in wanted.items()}
    for name, distance in distances.items():
        if not distance <= bound:
            raise ParityError(
                f"{package.path}: the engine's output differs from PyTorch's: {name}: relative L2 {distance:.1e}, "
                f"allowed {bound:.0e}; no plan was stored. TensorRT 8.6 misreads operators after opset 17: export "
                "with ",
                Option("target", "tensorrt"),
                "; otherwise report this with the model's architecture",
            )
    return {"relative_l2": max(distances.values()), "allowed": bound}
