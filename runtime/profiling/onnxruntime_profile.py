"""Times of ONNX Runtime's nodes, from the JSON that its profiler writes.

Each run is one event `model_run`; the events of category Node that lie in it are kernels. ONNX Runtime names a fused
convolution after the last node in it, with `_nchwc` behind the name where it runs in the blocked layout.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.profiling.sampled import NEXT, PREVIOUS, EngineLayer, Sampled

#: ONNX Runtime stops noting events after a million.
MAX_BYTES = 2 << 30
_KERNEL = "_kernel_time"
#: What ONNX Runtime adds to the names of nodes that it rewrites.
_ADDED = re.compile(r"(_bn)?(_nchwc|_token_\d+|_quant|_nhwc)+$")
_BEFORE = re.compile(r"^(fused |Fused_|fused_)")
_REORDERS = {"ReorderInput": NEXT, "ReorderOutput": PREVIOUS}

Event = Mapping[str, Any]


def profile_onnxruntime(
    model: Path, feeds: Sequence[Mapping[str, Array]], threads: int, warm_up: int, seconds: float
) -> Sampled:
    """Run a model file for about `seconds` on the CPU and read the profile. feeds are taken in turn.

    Raises BadInput when ONNX Runtime refuses the model or writes no profile.
    """
    with scratch_folder() as folder:
        runner = OnnxRuntimeRunner(model, threads=threads, profile=folder / "profile")
        try:
            walls = timed_runs(runner.run, feeds, warm_up, seconds)
            path = runner.end_profiling()
        finally:
            runner.close()
        events = _read(path)
    return Sampled(runner.description, len(walls), sum(walls) / len(walls), *_layers(events, warm_up, len(walls)))


def timed_runs(run: Any, feeds: Sequence[Mapping[str, Array]], warm_up: int, seconds: float) -> list[float]:
    """Seconds of each of at least 3 runs after the warm-up."""
    for index in range(warm_up):
        run(feeds[index % len(feeds)])
    walls: list[float] = []
    while len(walls) < 3 or sum(walls) < seconds:
        begin = time.perf_counter()
        run(feeds[len(walls) % len(feeds)])
        walls.append(time.perf_counter() - begin)
    return walls


def _read(path: Path) -> list[Event]:
    try:
        events = json.loads(read_bounded(path, MAX_BYTES))
        return [entry for entry in events if isinstance(entry, dict)]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: ONNX Runtime wrote no readable profile: {str(error)[:200]}") from None


def _layers(events: Sequence[Event], warm_up: int, runs: int) -> tuple[list[EngineLayer], dict[str, float], int | None]:
    """Layers with the mean of their times over the last `runs` runs, nothing outside, and the arena's bytes."""
    spans = [entry for entry in events if entry.get("name") == "model_run"][warm_up:]
    if len(spans) != runs:
        raise BadInput(
            f"ONNX Runtime's profile has {len(spans)} runs of {runs}; profile for a shorter time: --duration"
        )
    found: dict[str, tuple[Event, float, float]] = {}
    for entry, waited in _kernels(events, spans):
        name = str(entry["name"]).removesuffix(_KERNEL)
        first, total, dispatch = found.get(name, (entry, 0.0, 0.0))
        found[name] = first, total + float(entry["dur"]) / 1e6, dispatch + waited / 1e6
    layers = [
        _layer(name, first["args"], (total + dispatch) / runs, dispatch / runs)
        for name, (first, total, dispatch) in found.items()
    ]
    arguments = [first["args"] for first, _, _ in found.values()]
    held = [int(args["mem_arena_held"]) for args in arguments if args.get("mem_arena_held")]
    return layers, {}, max(held, default=None)


def _kernels(events: Sequence[Event], spans: Sequence[Event]) -> Iterator[tuple[Event, float]]:
    """The kernels of the runs in order, each with the microseconds since the one before it, or since its run began.

    Those of a subgraph are left out, because the node that runs it includes them.
    """
    chosen = [entry for entry in events if entry.get("cat") == "Node" and str(entry.get("name")).endswith(_KERNEL)]
    ordered = sorted(chosen, key=lambda entry: (entry["ts"], -entry["dur"]))
    runs = iter(spans)
    run: Event | None = next(runs)
    end = spans[0]["ts"]
    for entry in ordered:
        while run is not None and entry["ts"] >= run["ts"] + run["dur"]:
            run = next(runs, None)
            end = run["ts"] if run is not None else end
        if run is None or entry["ts"] < run["ts"] or entry["ts"] + entry["dur"] < end:
            continue
        yield entry, max(entry["ts"] - end, 0)
        end = max(end, entry["ts"] + entry["dur"])


def _layer(name: str, args: Mapping[str, Any], seconds: float, dispatch: float) -> EngineLayer:
    operator = str(args.get("op_name", ""))
    moved = [int(args[key]) for key in ("activation_size", "parameter_size", "output_size") if key in args]
    return EngineLayer(
        name=name,
        kind=operator,
        anchors=(name, _BEFORE.sub("", _ADDED.sub("", name))),
        seconds=seconds,
        dispatch=dispatch,
        reorder=_REORDERS.get(operator, ""),
        inputs=_elements(args.get("input_type_shape")),
        outputs=_elements(args.get("output_type_shape")),
        traffic=sum(moved) if moved else None,
        stored=int(args["output_size"]) if "output_size" in args else None,
    )


def _elements(tensors: Any) -> tuple[int, ...] | None:
    """Elements of each of [{dtype: shape}, ...]."""
    if not isinstance(tensors, list):
        return None
    return tuple(math.prod(shape) for tensor in tensors for shape in tensor.values())
