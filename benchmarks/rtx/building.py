"""Parse one ONNX file in TensorRT for RTX and build it, in a process that holds nothing else.

    python -m benchmarks.rtx.building JOB

JOB is what `job` returns. After each of the two steps the process prints a line of JSON with the outcome, the step's
seconds and, after the build, the most memory that the process had.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rtx.child import end_with_parent, say
from benchmarks.rtx.outcomes import BUILT, PARSED, REFUSED
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine, count_layers
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.profiling.memory import peak_bytes

#: Ampere (RTX 30) has every precision that is tried; parsing does not depend on it.
TARGETS = ((8, 6),)
#: Of the builder: the engines are not run, so how fast they would be does not matter.
LEAST_EFFORT = 0


def job(path: Path, precision: str, functions: bool, profile: Mapping[str, ShapeRange], build: bool) -> str:
    """The argument of the process; functions: the file calls ONNX functions; build: it is built behind the parser."""
    ranges = {name: [sizes.min, sizes.opt, sizes.max] for name, sizes in profile.items()}
    return json.dumps([str(path), precision, functions, ranges, build])


def steps(argument: str) -> Iterator[dict[str, Any]]:
    """Results of the steps; a step that TensorRT refuses is the last one.

    parse_s: seconds of the parser. build_s: seconds until there is an engine, for which the file is parsed once more.
    """
    path, precision, functions, ranges, build = json.loads(argument)
    profile = {name: ShapeRange(*map(tuple, sizes)) for name, sizes in ranges.items()}
    model, options = (
        Model(Path(path), precision, functions=functions),
        BuildOptions((profile,), optimization_level=LEAST_EFFORT),
    )
    try:
        api, begun = versions.installed_rtx(), time.perf_counter()
        layers = count_layers(model, options, api)
        parsed = {"outcome": PARSED, "layers": layers, "parse_s": _since(begun)}
        yield parsed
        if build:
            begun = time.perf_counter()
            size = len(build_engine(model, options, api, targets=TARGETS))
            yield {**parsed, "outcome": BUILT, "bytes": size, "build_s": _since(begun), "peak_bytes": peak_bytes()}
    except RectexportError as error:
        yield {"outcome": REFUSED, "message": str(error)}


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 2)


def main() -> None:
    """Say the results."""
    end_with_parent()
    for result in steps(sys.argv[1]):
        say(result)


if __name__ == "__main__":
    main()
