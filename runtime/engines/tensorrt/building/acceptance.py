"""A new engine's first answer, against the reference's: what nobody looked at is not kept.

A parser may take a model and mean another one: TensorRT 8.6 reads ReduceMean of opset 18 without an error and averages
over everything, the batch included. So every build ends with the package's own example.
"""

from __future__ import annotations

from typing import Any

from rectexport.runtime.base.metrics import compare
from rectexport.runtime.engines.tensorrt.profiles import choose
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.errors import Option, ParityError
from rectexport.runtime.package.folder import GOLDENS, Package

#: Relative L2 from PyTorch in float64 that an engine may have by what it computes in. Float32 kernels of a GPU may
#: transform (Winograd) and sum in any order; a model that was misread is off by a tenth and more.
RELATIVE_L2 = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 5e-3, "bf16": 2e-2}


def allowed(package: Package, precision: str) -> float:
    """The bound for this package in that precision; the manifest's where it is wider."""
    return max(package.manifest.tolerances.get("relative_l2", 0.0), RELATIVE_L2[precision])


def accept(engine: Engine, package: Package, precision: str) -> dict[str, Any] | None:
    """Run the package's example and compare; for the manifest: relative_l2 of the worst output, and what was allowed.

    None where the package has no example, or no profile holds its shapes. Raises ParityError when an output is
    farther off.
    """
    if GOLDENS not in package.manifest.files:
        return None
    feeds, wanted = package.goldens()
    shapes = {name: array.shape for name, array in feeds.items()}
    profile = choose(engine.profiles, shapes)
    if profile is None:
        return None
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
                f"{package.path}: the engine answers otherwise than PyTorch: {name}: relative L2 {distance:.1e}, "
                f"allowed {bound:.0e}; no plan was kept. TensorRT 8.6 misreads operators after opset 17: export with ",
                Option("target", "tensorrt"),
                "; otherwise report this with the model's architecture",
            )
    return {"relative_l2": max(distances.values()), "allowed": bound}
