"""One model, alone in a process, run in bursts on request; rectexport.runtime.timing_process is the other end.

Started as `python -m rectexport.runtime.timing_worker SPEC`, SPEC a JSON object:

    model     path of an ONNX file
    engine    a key of ENGINES
    threads   how many threads the engine may use
    inputs    [[name, dtype, shape], ...]; the model's own where they are static, by default

Answers a line of JSON: what it is once the model is loaded, {"seconds": [...]} for each line "SECONDS" on stdin
(one burst, each run), or {"error", "kind"}. Inputs are random, never zeros, and change from run to run. The first
run of a burst is not counted: it finds the caches as others have left them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, final

import numpy as np

from rectexport.runtime.environment import require, version
from rectexport.runtime.errors import BadInput, RectexportError
from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.runner import Array, Runner, TensorSpec
from rectexport.runtime.timers import HostTimer, Timer

LEAST_RUNS, INPUT_SETS, SEED = 3, 4, 0
Feeds = dict[str, Array]
Call = Callable[[], object]


class Timed(Protocol):
    """A loaded model, as a worker needs it."""

    @property
    def description(self) -> str:
        """What runs it, for people."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What it takes."""

    @property
    def timer(self) -> Timer:
        """The clock that its runs are measured with."""

    @property
    def transfers(self) -> str:
        """Whether the times hold copies to and from a GPU."""

    def prepare(self, feeds: Feeds) -> Call:
        """A call that infers once on these arrays, wherever they have to lie, and is done when it returns."""


@final
class HostModel:
    """A runner that takes arrays from the host."""

    transfers = "none, all is on the host"

    def __init__(self, runner: Runner, description: str) -> None:
        self.inputs, self.description, self.timer = runner.inputs, description, HostTimer()
        self._runner = runner

    def prepare(self, feeds: Feeds) -> Call:
        return lambda: self._runner.run(feeds)


@final
class OpenVinoRunner:
    """OpenVINO's CPU plugin, in float32 also where the processor has faster bfloat16."""

    def __init__(self, model: Path, threads: int) -> None:
        openvino = require("openvino")
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        compiled = openvino.Core().compile_model(str(model), "CPU", settings)
        self._request: Any = compiled.create_infer_request()
        self.inputs = [_openvino_spec(port) for port in compiled.inputs]
        self.outputs = [_openvino_spec(port) for port in compiled.outputs]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._request.infer(feeds, share_inputs=True, share_outputs=True)
        return {spec.name: array for spec, array in zip(self.outputs, results.values(), strict=True)}

    def close(self) -> None:
        self._request = None


def _openvino_spec(port: Any) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, shape)


def _open_onnxruntime(model: Path, threads: int) -> HostModel:
    return HostModel(OnnxRuntimeRunner(model, threads=threads), f"ONNX Runtime {version('onnxruntime')}, CPU")


def _open_openvino(model: Path, threads: int) -> HostModel:
    return HostModel(OpenVinoRunner(model, threads), f"OpenVINO {version('openvino')}, CPU")


ENGINES: dict[str, Callable[[Path, int], Timed]] = {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}


def open_model(spec: Mapping[str, Any]) -> Timed:
    """The model of a spec, loaded by its engine."""
    return ENGINES[spec["engine"]](Path(spec["model"]), spec["threads"])


def random_feeds(inputs: Sequence[TensorSpec]) -> list[Feeds]:
    """INPUT_SETS sets of arrays: standard normal, or 0 and 1 for integers. Raises BadInput for an open size."""
    rng = np.random.default_rng(SEED)
    return [{spec.name: _random(spec, rng) for spec in inputs} for _ in range(INPUT_SETS)]


def _random(spec: TensorSpec, rng: np.random.Generator) -> Array:
    if not all(isinstance(size, int) for size in spec.shape):
        raise BadInput(f"input {spec.name}: its shape {list(spec.shape)} is open; say which to time")
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(spec.shape, np.float32).astype(spec.dtype)  # type: ignore[arg-type]
    return rng.integers(0, 2, spec.shape).astype(spec.dtype)  # type: ignore[arg-type]


def burst(calls: Sequence[Call], timer: Timer, seconds: float) -> list[float]:
    """Seconds of each run, for about as long as asked and at least LEAST_RUNS times, after one that is not counted."""
    calls[-1]()
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < seconds:
        times.append(timer.time(calls[len(times) % len(calls)]))
    return times


def serve(opened: Callable[[Mapping[str, Any]], Timed]) -> None:
    """A worker's whole life: load what the command line says, then run bursts until stdin ends."""
    answers = _private_stdout()
    try:
        spec = json.loads(sys.argv[1])
        model = opened(spec)
        inputs = [TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in spec.get("inputs", ())]
        calls = [model.prepare(feeds) for feeds in random_feeds(inputs or model.inputs)]
        for call in calls[:1]:
            call()  # so that a model which does not take these inputs fails here
        told = {"description": model.description, "timer": model.timer.description, "transfers": model.transfers}
        _say(answers, told)
        for line in sys.stdin:
            _say(answers, {"seconds": burst(calls, model.timer, float(line))})
    except Exception as error:
        kind = type(error).__name__ if isinstance(error, RectexportError) else BadInput.__name__
        _say(answers, {"error": _line(error), "kind": kind})


def _private_stdout() -> IO[str]:
    """The stream to the parent; whatever libraries print goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(stream: IO[str], answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def _line(error: Exception) -> str:
    if isinstance(error, RectexportError):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.rstrip().endswith(":")]  # OpenVINO begins with "Exception from …:"
    return ": ".join([type(error).__name__, *(telling or lines)[:1]])[:400]


if __name__ == "__main__":
    serve(open_model)
