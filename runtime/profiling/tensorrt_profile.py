"""Times of TensorRT's layers from its layer profiler, and the ONNX nodes in each from the engine inspector.

The profiler makes TensorRT wait for the stream after every inference, and the layers run without a CUDA graph.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rectexport.runtime.base.runner import Array, BackendOptions
from rectexport.runtime.engines.tensorrt.running.lane import Lane
from rectexport.runtime.engines.tensorrt.running.runner import open_runner
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.sampled import NEXT, EngineLayer, Sampled

TRANSFERS = "transfers"
_NODES = re.compile(r"\[ONNX Layer: ([^\]\x1e\x1f]*)\]")
_REFORMAT = re.compile(r"reformat", re.I)
#: How a fused layer's name joins those of its parts, and what stands around them.
_JOINED = re.compile(r"\s*\+\s*|\s*\|\|\s*|,\s*")
_AROUND = "()[]{} "


def profile_tensorrt(package: Package, feeds: Sequence[Mapping[str, Array]], warm_up: int, seconds: float) -> Sampled:
    """Run the package's plan for about `seconds`, layer by layer. Raises as `open_runner` does."""
    runner = open_runner(package, BackendOptions(), graphs=False)
    times: dict[str, float] = defaultdict(float)
    shapes = {name: array.shape for name, array in feeds[0].items()}
    try:
        feeds = [runner.converted(entry) for entry in feeds]
        with runner.lane(shapes) as lane:
            for index in range(warm_up):
                lane.run(feeds[index % len(feeds)])

            def report(name: str, milliseconds: float) -> None:
                times[name] += milliseconds / 1e3

            lane.report_to(runner.make_profiler(report))
            walls: list[tuple[float, float]] = []
            while len(walls) < 3 or sum(wall for wall, _ in walls) < seconds:
                walls.append(_one_run(lane, feeds[len(walls) % len(feeds)]))
        told = _inspected(runner.layers())
    finally:
        runner.close()
    runs = len(walls)
    layers = [_layer(name, told.get(name, {}), total / runs) for name, total in times.items()]
    wall, transfers = (sum(values) / runs for values in zip(*walls, strict=True))
    return Sampled(runner.description, runs, wall, layers, {TRANSFERS: transfers})


def _one_run(lane: Lane, feeds: Mapping[str, Array]) -> tuple[float, float]:
    """Seconds in all, and of the copies to and from the GPU."""
    moments = [time.perf_counter()]
    for step in (lambda: lane.load(feeds), lane.enqueue):
        step()
        lane.wait()
        moments.append(time.perf_counter())
    lane.fetch()
    moments.append(time.perf_counter())
    return moments[3] - moments[0], moments[1] - moments[0] + moments[3] - moments[2]


def _inspected(text: str) -> dict[str, Any]:
    """The inspector's layers by name; those of a plan without detailed verbosity are names alone and left out."""
    entries = json.loads(text).get("Layers", ())
    return {str(entry.get("Name", "")): entry for entry in entries if isinstance(entry, dict)}


def _layer(name: str, entry: Mapping[str, Any], seconds: float) -> EngineLayer:
    kind = str(entry.get("LayerType", ""))
    nodes = _NODES.findall(str(entry.get("Metadata", "")))
    parts = [part.strip(_AROUND) for part in _JOINED.split(name)]
    return EngineLayer(
        name=name,
        kind=kind,
        anchors=tuple(dict.fromkeys((*nodes, name, *parts))),
        seconds=seconds,
        reorder=NEXT if _REFORMAT.search(f"{kind} {name}") else "",
        inputs=_elements(entry.get("Inputs")),
        outputs=_elements(entry.get("Outputs")),
    )


def _elements(tensors: Any) -> tuple[int, ...] | None:
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        return None
    shapes = [tensor.get("Dimensions", ()) for tensor in tensors]
    return tuple(math.prod(max(int(size), 1) for size in shape) for shape in shapes)
