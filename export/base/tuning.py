"""What a search can be asked for, with every default; imports neither PyTorch nor ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.exporter.base.fingerprint import fingerprint
from rectexport.exporter.base.options import LoadOptions, ShapeOptions
from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.engines.backends import BACKENDS
from rectexport.runtime.engines.tensorrt.versions import no_plans
from rectexport.runtime.errors import MissingDependency, Option, UsageError
from rectexport.runtime.evaluation.evaluate import DEFAULT_METRIC
from rectexport.runtime.layouts import AUTO_LAYOUT, LAYOUTS
from rectexport.runtime.tuning.candidate import CHOSEN, FORMS, GRAPHS, PLACEMENTS, PRECISIONS, TENSORRT, Space
from rectexport.runtime.tuning.choice import LATENCY, THROUGHPUT, Bounds
from rectexport.runtime.tuning.search import Goal

#: Backends that are searched; each reads the package's file for its engine.
SEARCHED = ("openvino", "onnxruntime", "cuda", TENSORRT)
DEFAULT_SECONDS = 600.0
#: What each list of words takes.
_KNOWN = {
    "backends": SEARCHED,
    "precisions": PRECISIONS,
    "forms": FORMS,
    "placements": PLACEMENTS,
    "layouts": LAYOUTS,
    "cuda_graphs": GRAPHS,
}
#: Options whose content matters, not their names alone.
_CONTENT = ("data", "calibrate", "labels")


@dataclass(frozen=True)
class TuneOptions:
    """What to search.

    data         labelled examples, as `rectexport.evaluate` takes them; without, accuracy is not judged
    calibrate    examples for int8; None takes a quarter of `data`, which then judges no accuracy
    labels, metric, mean, std  of `data`, as `rectexport.evaluate` takes them
    max_drop     how much lower the metric may be than float32's, in its unit; the whole 95 % interval must keep it
    max_latency  seconds that 99 % of the calls take at most
    memory       most resident bytes of the process
    goal         LATENCY of a call, or THROUGHPUT; None: THROUGHPUT with max_latency, else LATENCY
    backends     of SEARCHED, the preferred first; empty: those that are here
    precisions   of PRECISIONS; empty: fp32, and int8 where there is data to calibrate on
    forms        of FORMS
    placements   of PLACEMENTS, for int8 on ONNX Runtime
    layouts      of LAYOUTS, for float32 on ONNX Runtime on the CPU
    cuda_graphs  of GRAPHS, for cuda and tensorrt
    threads, streams, batches  numbers to combine; threads, of a CPU engine, empty: every usable core; batches, empty:
                 the smallest that a package takes, 1 for a model
    seconds      how long to search, exports not counted in
    seed         of the split of data, and of the order in the races
    shapes, load how the model is loaded and which shapes it takes, as for an export
    """

    data: Any = None
    calibrate: Any = None
    labels: Any = None
    metric: str = DEFAULT_METRIC
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    max_drop: float | None = None
    max_latency: float | None = None
    memory: int | None = None
    goal: str | None = None
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    forms: tuple[str, ...] = (CHOSEN,)
    placements: tuple[str, ...] = PLACEMENTS[:1]
    layouts: tuple[str, ...] = (AUTO_LAYOUT,)
    cuda_graphs: tuple[str, ...] = GRAPHS
    threads: tuple[int, ...] = ()
    streams: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = ()
    seconds: float = DEFAULT_SECONDS
    seed: int = 0
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    load: LoadOptions = field(default_factory=LoadOptions)

    def __post_init__(self) -> None:
        """Raises UsageError that names the parameter."""
        for name, known in _KNOWN.items():
            for value in getattr(self, name):
                if value not in known:
                    raise UsageError(Option(name, value), f": expected some of {', '.join(known)}")
        if self.goal not in (None, LATENCY, THROUGHPUT):
            raise UsageError(Option("goal", self.goal), f": expected {LATENCY} or {THROUGHPUT}")
        if self.max_drop is not None and self.data is None:
            raise UsageError(Option("max_drop", self.max_drop), ": needs labelled data; give ", Option("data"))
        if "int8" in self.precisions and self.data is None and self.calibrate is None:
            raise UsageError(Option("precisions", "int8"), ": needs data to calibrate on; give ", Option("calibrate"))
        if self.memory is not None and self.memory <= 0:
            raise UsageError(Option("memory", self.memory), ": expected more than 0 bytes")
        for name in ("threads", "streams", "batches"):
            if any(value < 1 for value in getattr(self, name)):
                raise UsageError(Option(name), ": expected numbers from 1 on")

    def asked_precisions(self) -> tuple[str, ...]:
        """The precisions to try; fp32 always, because the others are compared with it."""
        if not self.precisions:
            return ("fp32", "int8") if self.data is not None or self.calibrate is not None else ("fp32",)
        return tuple(name for name in PRECISIONS if name == "fp32" or name in self.precisions)

    def space(self) -> Space:
        """What is combined. Raises MissingDependency for a backend that is not here."""
        absent = {backend.name: backend.absent for backend in BACKENDS} | {TENSORRT: no_plans}
        reasons = {name: reason for name in self.backends or SEARCHED if (reason := absent[name]())}
        for name in self.backends:
            if name in reasons:
                raise MissingDependency(f"backend {name}: {reasons[name]}")
        found = tuple(name for name in self.backends or SEARCHED if name not in reasons)
        if not found:
            raise MissingDependency(f"no engine is installed: {'; '.join(reasons.values())}")
        threads = self.threads or (usable_cores(),)
        return Space(found, threads, self.streams, self.batches or (1,), self.layouts, self.cuda_graphs, reasons)

    def wanted(self) -> Goal:
        """Measure and bounds."""
        measure = self.goal or (THROUGHPUT if self.max_latency is not None else LATENCY)
        return Goal(measure, Bounds(self.max_latency, self.memory), self.max_drop)

    def identity(self) -> list[str]:
        """What a search with these options depends on, time aside; data by its content.

        Raises BadInput for data that is neither a file nor a folder nor arrays.
        """
        options = [f"{name}={value!r}" for name, value in vars(self).items() if name not in ("seconds", *_CONTENT)]
        return [*options, *(f"{name}={fingerprint(getattr(self, name))}" for name in _CONTENT)]


def package_path(model: Any) -> Path | None:
    """The folder, if the model is a package."""
    path = Path(model) if isinstance(model, (str, Path)) else None
    return path if path is not None and (path / "manifest.json").is_file() else None
