"""The program of a trial: `python -m rectexport.runtime.tuning.trial SPEC`. A candidate is proven before it is timed.

SPEC is a JSON object as rectexport.runtime.timing.worker takes it. The process opens the package on the engine, which
compares it with the goldens where no proof holds, runs the goldens, and notes the peak of resident memory. TensorRT,
and every engine that replays a CUDA graph, is compared with the goldens once more, after other values at their shapes:
a plan was compared without graphs. It answers {"snr", "memory", "description"}, or the error of an engine that does not
agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array, Runner, TensorSpec
from rectexport.runtime.engines.backends import choose_backend
from rectexport.runtime.engines.tensorrt.building.acceptance import allowed
from rectexport.runtime.engines.tensorrt.plans import plans_of
from rectexport.runtime.errors import ParityError
from rectexport.runtime.package.folder import GOLDENS, Package
from rectexport.runtime.profiling.memory import peak_bytes, reset_peak
from rectexport.runtime.profiling.process import answer
from rectexport.runtime.timing.worker import backend_options, random_feeds
from rectexport.runtime.tuning.candidate import TENSORRT

WARM_UP = 3
#: Stands for a noise of zero, which JSON has no ratio for.
EXACT_DB = 200.0


def work(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Prove, and measure memory. Raises ParityError for an engine that disagrees with the source model."""
    package = Package.open(spec["package"])
    reset_peak()
    runner, choice = choose_backend(package, spec["engine"], backend_options(spec))
    try:
        inputs = [TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in spec["inputs"]]
        for feeds in random_feeds(inputs)[:WARM_UP]:
            runner.run(feeds)
        memory = peak_bytes()
        if choice.verdict is None or spec.get("cuda_graphs"):
            check_replay(package, runner, spec["engine"])
        snr = golden_snr(package, runner)
    finally:
        runner.close()
    return {"snr": snr, "memory": memory, "description": choice.description}


def check_replay(package: Package, runner: Runner, engine: str) -> None:
    """Compare the first golden case with its outputs once a graph is recorded for its shapes. Raises ParityError."""
    if GOLDENS not in package.manifest.files:
        return
    feeds, expected = package.goldens()
    for _ in range(WARM_UP):  # the graph is recorded with values other than the goldens'
        runner.run({name: np.zeros_like(array) for name, array in feeds.items()})
    actual, bound = runner.run(feeds), allowed_distance(package, engine)
    for name, wanted in expected.items():
        distance = compare(wanted, actual[name]).relative_l2
        if not distance <= bound:
            raise ParityError(
                f"backend {engine}: {runner.description} disagrees with the source model: {name}: relative L2 "
                f"{distance:.1e}, allowed {bound:.0e}"
            )


def allowed_distance(package: Package, engine: str) -> float:
    """The bound that a plan of the package was accepted by, else that of a GPU in the package's precision."""
    options = package.manifest.data.get("options", {})
    bounds = [plan.entry["parity"]["allowed"] for plan in plans_of(package) if plan.entry.get("parity")]
    return max([allowed(package, options.get("precision", "fp32")), *(bounds if engine == TENSORRT else [])])


def golden_snr(package: Package, runner: Runner) -> float | None:
    """Signal to noise of the outputs in the first golden case, in dB; None for a package without goldens."""
    if GOLDENS not in package.manifest.files:
        return None
    feeds, expected = package.goldens()
    actual = runner.run(feeds)
    pairs = [(wanted, actual[name]) for name, wanted in expected.items() if wanted.dtype.kind == "f"]
    signal = sum(_energy(wanted) for wanted, _ in pairs)
    noise = sum(_energy(np.subtract(got, wanted, dtype=np.float64)) for wanted, got in pairs)
    if noise == 0:
        return EXACT_DB
    return float(10 * np.log10(signal / noise)) if signal else None


def _energy(array: Array) -> float:
    return float(np.square(array, dtype=np.float64).sum())


if __name__ == "__main__":
    answer(work)
