"""A model on each CPU engine that is installed, in float32, with the engine's own optimizations."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from rectexport.runtime.base.processor import processor

Array = NDArray[Any]
#: Whether products of 8 bits are added in 32 here; elsewhere both engines saturate at 16, and exports refuse that.
WHOLE_SUMS = bool({"avx512_vnni", "avx_vnni", "asimddp"}.intersection(processor().features))
ENGINES = tuple(name for name in ("onnxruntime", "openvino") if find_spec(name))


def run_on(engine: str, model: ModelProto, x: Array) -> Array:
    """The first output for the only input."""
    data = model.SerializeToString()
    if engine == "onnxruntime":
        from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

        runner = OnnxRuntimeRunner(data, threads=1)
        result = next(iter(runner.run({runner.inputs[0].name: x}).values()))
        runner.close()
        return np.asarray(result)
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return np.asarray(core.compile_model(core.read_model(data), "CPU", hints)({0: x})[0])
