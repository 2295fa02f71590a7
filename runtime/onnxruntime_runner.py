"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from rectexport.runtime.environment import onnxruntime_conflict, require
from rectexport.runtime.errors import BadInput
from rectexport.runtime.runner import Array, TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


@final
class OnnxRuntimeRunner:
    """Runs a model file, or its bytes, on ONNX Runtime's CPU provider.

    threads 0 leaves the number of intra-op threads to ONNX Runtime. optimize=False runs the graph as it
    stands, for comparing graphs. Raises BadInput when ONNX Runtime refuses the model and MissingDependency
    when it is not installed.
    """

    def __init__(self, model: Path | bytes, *, threads: int = 0, optimize: bool = True) -> None:
        ort = require("onnxruntime")
        conflict = onnxruntime_conflict()
        if conflict:
            warnings.warn(conflict, RuntimeWarning, stacklevel=2)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = (
            4  # what it logs it raises, too, and a stranger's names in it are not for a terminal
        )
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        source = model if isinstance(model, bytes) else os.fspath(model)
        name = "model" if isinstance(model, bytes) else str(model)
        try:
            self._session: Any = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInput(f"{name}: ONNX Runtime {ort.__version__} refuses it: {_first_line(error)}") from None
        self._inputs = [_spec(value) for value in self._session.get_inputs()]
        self._outputs = [_spec(value) for value in self._session.get_outputs()]
        self._names = [spec.name for spec in self._outputs]

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise BadInput("the model was closed; load it again")
        try:
            return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))
        except Exception as error:
            shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
            raise BadInput(f"ONNX Runtime could not run with {shapes}: {_first_line(error)}") from None

    def close(self) -> None:
        self._session = None


def _spec(value: Any) -> TensorSpec:
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), tuple(value.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__
