"""Run a small model on each engine that is installed, and say how answers differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
import openvino
from onnx import ModelProto

from rectexport.runtime.engines.openvino_runner import SETTINGS
from tests.differential import specification
from tests.differential.case import Array

Run = Callable[[ModelProto, Mapping[str, Array]], list[Array]]
#: Relative L2 beyond which an answer differs: sums taken in another order stay well below.
BOUNDS = {"float16": 2e-3, "float32": 2e-5, "float64": 2e-5}
_CORE = openvino.Core()


def onnxruntime_plain(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """ONNX Runtime on the graph as it stands."""
    return _onnxruntime(model, feeds, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)


def onnxruntime_optimized(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """ONNX Runtime with its own rewrites."""
    return _onnxruntime(model, feeds, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)


def _onnxruntime(model: ModelProto, feeds: Mapping[str, Array], level: object) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def openvino_cpu(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """OpenVINO with the settings of the package's runner."""
    settings = {**SETTINGS, "INFERENCE_NUM_THREADS": 1}
    compiled = _CORE.compile_model(_CORE.read_model(model.SerializeToString()), "CPU", settings)
    return [np.array(value) for value in compiled.create_infer_request().infer(list(feeds.values())).values()]


def reference(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """What ONNX says. Raises what NumPy raises for a model that cannot be evaluated."""
    return specification.evaluate(model, feeds)


#: Every engine by name, and the specification's evaluation.
ENGINES: dict[str, Run] = {
    "onnxruntime": onnxruntime_plain,
    "onnxruntime optimized": onnxruntime_optimized,
    "openvino": openvino_cpu,
    "reference": reference,
}


def attempt(run: Run, model: ModelProto, feeds: Mapping[str, Array]) -> list[Array] | str:
    """The outputs, or why there are none."""
    try:
        return run(model, feeds)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines)[-200:] or type(error).__name__


def difference(expected: Sequence[Array], actual: Sequence[Array], compare: bool = True) -> str:
    """How the first output that differs does: dtype, shape, or values; "" where none differs."""
    for one, other in zip(expected, actual, strict=True):
        if one.dtype != other.dtype:
            return f"dtype {other.dtype}, not {one.dtype}"
        if one.shape != other.shape:
            return f"shape {list(other.shape)}, not {list(one.shape)}"
        said = _values(one, other) if compare else ""
        if said:
            return said
    return ""


def _values(expected: Array, actual: Array) -> str:
    if expected.dtype.name not in BOUNDS:
        count = int((expected != actual).sum())
        return f"{count} of {expected.size} elements" if count else ""
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return "NaN or infinity elsewhere"
    distance = np.linalg.norm(wanted[finite] - got[finite]) / max(np.linalg.norm(wanted[finite]), 1e-30)
    return f"relative L2 {distance:.1e}" if distance > BOUNDS[expected.dtype.name] else ""
