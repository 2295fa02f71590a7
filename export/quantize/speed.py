"""Times int8 against float32 on this machine: each model alone in its process, in turns, over several launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.timing import stopwatch
from rectexport.runtime.timing.intervals import Interval
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race

FLOAT, INT8 = "float32", "int8"
#: About 10 seconds for a small model: starting the processes takes most of them.
HOW = Race(seconds=1.5, warm_up=0.1, launches=6)


@dataclass(frozen=True)
class Speed:
    """Time of int8 divided by that of float32, with its 95 % interval, and milliseconds of both."""

    ratio: float
    low: float
    high: float
    int8_ms: float
    float_ms: float

    @property
    def faster(self) -> bool:
        """Whether int8 took less time; that the interval lies below 1 is not needed."""
        return self.ratio < 1

    def describe(self) -> str:
        """For people."""
        return (
            f"int8 takes {self.ratio:.2f} of the time of float32 ({self.low:.2f} to {self.high:.2f} with 95 % "
            f"confidence): {self.int8_ms:.3g} ms and {self.float_ms:.3g} ms"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "ratio": self.ratio,
            "interval": [self.low, self.high],
            "int8_ms": self.int8_ms,
            "float32_ms": self.float_ms,
        }


def compare_speed(
    engine: str,
    quantized: Path,
    floating: ModelProto,
    inputs: Sequence[TensorSpec],
    advance: Callable[[int, int, str], None],
) -> Speed:
    """The quantized file against the float model as an export without int8 writes it, on an engine of the CPU.

    inputs  names, types and the shapes to time
    """
    shapes = [[spec.name, spec.dtype, list(spec.shape)] for spec in inputs]
    with scratch_folder() as folder:
        path = folder / "float.onnx"
        path.write_bytes(floating.SerializeToString())
        common = {"engine": engine, "threads": usable_cores(), "inputs": shapes}
        contestants = [
            Contestant(name, {"model": str(file.absolute()), **common})
            for name, file in ((INT8, quantized), (FLOAT, path))
        ]
        times = stopwatch.race(
            contestants, HOW, lambda launch: advance(launch, HOW.launches, f"timing int8 and float32 on {engine}")
        )
    return speed_of(times[INT8], times[FLOAT])


def speed_of(quick: stopwatch.Timing, base: stopwatch.Timing) -> Speed:
    """The comparison of two timings."""
    found: Interval = quick.interval(base)
    return Speed(found.ratio, found.low, found.high, quick.median * 1e3, base.median * 1e3)
