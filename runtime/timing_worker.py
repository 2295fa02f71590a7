"""One model, alone in a process, run in bursts on request; see rectexport.runtime.stopwatch.

Started as `python -m rectexport.runtime.timing_worker MODEL ENGINE THREADS`. Prints "ready" when the model has
been loaded and run a few times; then answers each line "SECONDS" on stdin with the seconds of each run of one
burst, as JSON. Inputs are standard normal, never zeros, and change from run to run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.environment import require

WARM_UP, LEAST_RUNS, INPUT_SETS = 3, 3, 2
Feeds = dict[str, Any]


def onnxruntime_model(path: Path, threads: int) -> tuple[Callable[[Feeds], Any], dict[str, list[int]]]:
    """A function that runs the model on ONNX Runtime's CPU provider, and the shapes of its inputs."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds), {value.name: value.shape for value in session.get_inputs()}


def openvino_model(path: Path, threads: int) -> tuple[Callable[[Feeds], Any], dict[str, list[int]]]:
    """The same on OpenVINO's CPU plugin, in float32 also where the processor has faster bfloat16."""
    openvino = require("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    core = openvino.Core()
    model = core.read_model(str(path))
    shapes = {value.get_any_name(): list(value.get_shape()) for value in model.inputs}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda feeds: request.infer(feeds, share_inputs=True, share_outputs=True), shapes


ENGINES = {"onnxruntime": onnxruntime_model, "openvino": openvino_model}


def burst(run: Callable[[Feeds], Any], inputs: list[Feeds], seconds: float) -> list[float]:
    """Seconds of each run, for about as long as asked and at least LEAST_RUNS times.

    An untimed run wakes the threads first.
    """
    run(inputs[-1])
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < seconds:
        feeds = inputs[len(times) % len(inputs)]
        begin = time.perf_counter()
        run(feeds)
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    """Load, warm up, then serve bursts until stdin ends."""
    path, engine, threads = sys.argv[1:]
    run, shapes = ENGINES[engine](Path(path), int(threads))
    rng = np.random.default_rng(0)
    inputs = [
        {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()} for _ in range(INPUT_SETS)
    ]
    for index in range(WARM_UP):
        run(inputs[index % INPUT_SETS])
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(burst(run, inputs, float(line))), flush=True)


if __name__ == "__main__":
    main()
