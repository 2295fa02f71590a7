"""Times of OpenVINO's nodes from its performance counters, and the ONNX nodes in each from its runtime model.

The counters are means over all runs since the model was compiled, in whole microseconds, rounded down. Read before and
after the measured runs, they give the mean of these, up to a microsecond less for each layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.openvino_runner import OpenVinoRunner
from rectexport.runtime.profiling.onnxruntime_profile import timed_runs
from rectexport.runtime.profiling.sampled import NEXT, EngineLayer, Sampled

_REORDER = "Reorder"
#: Suffixes that OpenVINO's ONNX reader adds to the name of a node that it splits.
_PARTS = ("/WithoutBiases", "/sink_port_0")


def profile_openvino(
    model: Path,
    outputs: Sequence[str],
    feeds: Sequence[Mapping[str, Array]],
    threads: int,
    warm_up: int,
    seconds: float,
) -> Sampled:
    """Run a model file for about `seconds` on the CPU and read the counters. Raises BadInput as the runner does."""
    runner = OpenVinoRunner(model, threads=threads, outputs=outputs, profile=True)
    try:
        for index in range(warm_up):
            runner.run(feeds[index % len(feeds)])
        before = {entry.node_name: _seconds(entry) for entry in runner.counters()}
        walls = timed_runs(runner.run, feeds, 0, seconds)
        counters = [entry for entry in runner.counters() if _ran(entry, before)]
        nodes = {node.get_friendly_name(): node for node in runner.runtime_model().get_ordered_ops()}
    finally:
        runner.close()
    runs = len(walls)
    layers = []
    for entry in counters:
        total = _seconds(entry) * (warm_up + runs) - before.get(entry.node_name, 0.0) * warm_up
        layers.append(_layer(entry, nodes.get(entry.node_name), max(total, 0.0) / runs))
    return Sampled(runner.description, runs, sum(walls) / runs, layers)


def _seconds(entry: Any) -> float:
    return float(entry.real_time.total_seconds())


def _ran(entry: Any, before: Mapping[str, float]) -> bool:
    """Whether it took a microsecond in any of the readings: a node that was fused into another never does."""
    ran = _seconds(entry) > 0 or before.get(entry.node_name, 0.0) > 0
    return ran and entry.node_type not in ("Parameter", "Result", "Constant")


def _layer(entry: Any, node: Any, seconds: float) -> EngineLayer:
    reorder = NEXT if entry.node_type == _REORDER else ""
    told = _information(node, "originalLayersNames").split(",") if node is not None else []
    inputs = _elements(node.inputs()) if node is not None else None
    outputs = _elements(node.outputs()) if node is not None else None
    return EngineLayer(
        name=entry.node_name,
        kind=f"{entry.node_type} {entry.exec_type}",
        anchors=tuple(dict.fromkeys(_whole(name) for name in (*told, entry.node_name) if name)),
        seconds=seconds,
        reorder=reorder,
        inputs=inputs,
        outputs=outputs,
        traffic=_traffic(node, inputs, outputs),
        stored=_bytes(node.outputs(), outputs) if node is not None else None,
    )


def _whole(name: str) -> str:
    for part in _PARTS:
        name = name.removesuffix(part)
    return name


def _information(node: Any, key: str) -> str:
    table = node.get_rt_info()
    return str(table[key].astype(str)) if key in table else ""


def _elements(ports: Sequence[Any]) -> tuple[int, ...] | None:
    shapes = [port.get_partial_shape() for port in ports]
    if any(shape.is_dynamic for shape in shapes):
        return None
    return tuple(math.prod(int(size.get_length()) for size in shape) for shape in shapes)


def _traffic(node: Any, inputs: Sequence[int] | None, outputs: Sequence[int] | None) -> int | None:
    if node is None or inputs is None or outputs is None:
        return None
    return _bytes([*node.inputs(), *node.outputs()], (*inputs, *outputs))


def _bytes(ports: Sequence[Any], elements: Sequence[int] | None) -> int | None:
    if elements is None:
        return None
    return sum(count * int(port.get_element_type().size) for count, port in zip(elements, ports, strict=True))
