"""The program of a timing process: runs one model in bursts on request. Its parent's end is timing/process.py.

Started as `python -m rectexport.runtime.timing.worker SPEC`, SPEC a JSON object:

    package   folder of a package, or instead of it
    model     path of an ONNX file, for onnxruntime and openvino alone
    engine    name of a backend
    threads   how many threads the engine may use
    streams   calls that run at the same time, 1 by default; what is timed is a wave of so many calls
    device    index of the GPU, 0 by default
    layout    of tensors in ONNX Runtime, as BackendOptions has it
    cuda_graphs  as BackendOptions has it
    allow_unproven  whether an engine may disagree with the source model, false by default
    transfers whether copies to and from a GPU are timed, true by default
    inputs    [[name, dtype, shape], ...]; the model's own where they are static, by default

Each answer is a line of JSON: a description of the model once it is loaded; then, for each line "SECONDS" on stdin,
{"seconds": [...]} with the time of each run of one burst; or {"error", "kind"}, where "error" holds the parts of the
text (errors.to_plain). Inputs are random, never zeros, and change from run to run. The first run of a burst is not
counted: other processes have replaced its data in the caches.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from rectexport.runtime.base.runner import Array, BackendOptions, Runner, TensorSpec
from rectexport.runtime.engines.backends import open_backend
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.engines.openvino_runner import OpenVinoRunner
from rectexport.runtime.errors import BadInput, RectexportError, to_plain
from rectexport.runtime.layouts import AUTO_LAYOUT
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.models import Call, Feeds, Timed, timed
from rectexport.runtime.timing.parent import end_with_parent
from rectexport.runtime.timing.timers import Timer

LEAST_RUNS, INPUT_SETS, SEED = 3, 4, 0


def _open_file(spec: Mapping[str, Any]) -> Runner:
    model, threads = Path(spec["model"]), spec["threads"]
    if spec["engine"] == "openvino":
        return OpenVinoRunner(model, threads=threads)
    return OnnxRuntimeRunner(model, threads=threads)


def _open_package(spec: Mapping[str, Any]) -> Runner:
    return open_backend(Package.open(spec["package"]), spec["engine"], backend_options(spec))


def backend_options(spec: Mapping[str, Any]) -> BackendOptions:
    """How a spec's package is opened."""
    threads, streams = shared_threads(spec)
    return BackendOptions(
        device=spec.get("device", 0),
        threads=threads,
        streams=streams,
        allow_unproven=spec.get("allow_unproven", False),
        layout=spec.get("layout", AUTO_LAYOUT),
        cuda_graphs=spec.get("cuda_graphs"),
    )


def shared_threads(spec: Mapping[str, Any]) -> tuple[int, int]:
    """(threads, streams) as a backend takes them. OpenVINO divides its threads among streams; others give every call
    threads of its own, so that each gets its share."""
    threads, streams = spec["threads"], spec.get("streams", 1)
    if spec["engine"] == "openvino":
        return threads, streams if streams > 1 else 0
    return max(threads // streams, 1) if streams > 1 else threads, 0


def wave(calls: Sequence[Call], pool: ThreadPoolExecutor) -> Call:
    """A call that makes all of these at the same time and waits for all."""

    def together() -> None:
        for done in [pool.submit(call) for call in calls]:
            done.result()

    return together


def open_model(spec: Mapping[str, Any]) -> Timed:
    """Load the model of a spec in its engine."""
    return timed(_open_package(spec) if "package" in spec else _open_file(spec), spec.get("transfers", True))


def random_feeds(inputs: Sequence[TensorSpec]) -> list[Feeds]:
    """INPUT_SETS sets of arrays: standard normal floats, or integers 0 and 1. Raises BadInput for a dynamic size."""
    rng = np.random.default_rng(SEED)
    return [{spec.name: _random(spec, rng) for spec in inputs} for _ in range(INPUT_SETS)]


def _random(spec: TensorSpec, rng: np.random.Generator) -> Array:
    if not all(isinstance(size, int) for size in spec.shape):
        raise BadInput(f"input {spec.name}: its shape {list(spec.shape)} is dynamic; give the shape to time")
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(spec.shape, np.float32).astype(spec.dtype)  # type: ignore[arg-type]
    return rng.integers(0, 2, spec.shape).astype(spec.dtype)  # type: ignore[arg-type]


def burst(calls: Sequence[Call], timer: Timer, seconds: float) -> list[float]:
    """The seconds of each run, for about `seconds` and at least LEAST_RUNS runs, after one run that is not counted."""
    calls[-1]()
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < seconds:
        times.append(timer.time(calls[len(times) % len(calls)]))
    return times


def serve(opened: Callable[[Mapping[str, Any]], Timed]) -> None:
    """Load the model that the command line specifies, then run bursts until stdin ends, or the parent does."""
    end_with_parent()
    answers = _private_stdout()
    try:
        spec = json.loads(sys.argv[1])
        model = opened(spec)
        inputs = [TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in spec.get("inputs", ())]
        calls = [model.prepare(feeds) for feeds in random_feeds(inputs or model.inputs)]
        streams = spec.get("streams", 1)
        if streams > 1:
            pool = ThreadPoolExecutor(streams)
            calls = [
                wave([calls[(first + place) % len(calls)] for place in range(streams)], pool)
                for first in range(len(calls))
            ]
        for call in calls[:1]:
            call()  # so that inputs which the model does not take fail now
        told = {"description": model.description, "timer": model.timer.description, "transfers": model.transfers}
        _say(answers, told)
        for line in sys.stdin:
            _say(answers, {"seconds": burst(calls, model.timer, float(line))})
    except Exception as error:
        kind = type(error).__name__ if isinstance(error, RectexportError) else BadInput.__name__
        parts = to_plain(error) if isinstance(error, RectexportError) else [_line(error)]
        _say(answers, {"error": parts, "kind": kind})


def _private_stdout() -> IO[str]:
    """The stream to the parent; output of libraries goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(stream: IO[str], answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def _line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.rstrip().endswith(":")]  # OpenVINO begins with "Exception from …:"
    return ": ".join([type(error).__name__, *(telling or lines)[:1]])[:400]


if __name__ == "__main__":
    serve(open_model)
