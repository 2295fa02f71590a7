"""OpenVINO on the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np

from rectexport.runtime.base.engine_errors import CLOSED, first_line, shown
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.onnx_header import check_opsets

SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",  # also on processors with faster bfloat16
    "PERFORMANCE_HINT": "LATENCY",  # one stream
    "ENABLE_CPU_PINNING": "NO",  # every process would pin its threads to the same first cores
    # Entries of the cache of kernels by shape; the default of 5000 takes hundreds of megabytes.
    "CPU_RUNTIME_CACHE_CAPACITY": "64",
}


@final
class OpenVinoRunner:
    """Runs a model file on OpenVINO's CPU plugin; concurrent calls use separate infer requests.

    threads 0 lets OpenVINO choose their number; streams, if given, is how many calls run at the same time.
    `outputs` are the names to use for the outputs, in order: a tensor may have several names in OpenVINO. profile
    counts the time of each node. Raises BadInput when OpenVINO refuses the model or an input is float64, which OpenVINO
    computes in float32; MissingDependency when OpenVINO is not installed.
    """

    def __init__(
        self, model: Path, *, threads: int = 0, outputs: Sequence[str] = (), streams: int = 0, profile: bool = False
    ) -> None:
        openvino = require("openvino")
        check_opsets(model)
        settings = {**SETTINGS, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        settings |= {"NUM_STREAMS": streams} if streams else {}
        settings |= {"PERF_COUNT": "YES"} if profile else {}
        self._description = f"OpenVINO {openvino.__version__.partition('-')[0]}, CPU"
        try:
            self._compiled: Any = openvino.Core().compile_model(str(model), "CPU", settings)
        except Exception as error:
            raise BadInput(f"{model}: {self._description} refuses it: {_reasons(error)}") from None
        self._inputs = [_spec(port) for port in self._compiled.inputs]
        self._outputs = [_spec(port) for port in self._compiled.outputs]
        if outputs:
            self._outputs = [replace(spec, name=name) for spec, name in zip(self._outputs, outputs, strict=True)]
        if any(spec.dtype == "float64" for spec in self._inputs):
            raise BadInput(
                f"{model}: an input is float64, which OpenVINO computes in float32; use ",
                Option("backend", "onnxruntime"),
            )
        self._free: deque[Any] = deque()

    @property
    def description(self) -> str:
        return self._description

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        compiled = self._compiled
        if compiled is None:
            raise BadInput(CLOSED)
        dense = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        try:
            request = self._free.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            results = request.infer(dense, share_inputs=True, share_outputs=False)
        except Exception as error:
            raise BadInput(f"OpenVINO could not run with {shown(feeds)}: {_reasons(error)}") from None
        self._free.append(request)
        return {spec.name: array for spec, array in zip(self._outputs, results.values(), strict=True)}

    def counters(self) -> list[Any]:
        """OpenVINO's performance counters of the request that ran last. Raises BadInput before the first run."""
        if not self._free:
            raise BadInput("no run is finished, so there are no counters; run the model first")
        return list(self._free[-1].get_profiling_info())

    def runtime_model(self) -> Any:
        """OpenVINO's model after its own fusions. Raises BadInput after close()."""
        if self._compiled is None:
            raise BadInput(CLOSED)
        return self._compiled.get_runtime_model()

    def close(self) -> None:
        self._compiled = None
        self._free.clear()


def _reasons(error: Exception) -> str:
    """What OpenVINO's message says, without the lines that only tell where in its source it failed."""
    lines = [line.removeprefix("-- ").strip() for line in str(error).splitlines()]
    told = dict.fromkeys(line for line in lines if line and not line.endswith(":"))
    return "; ".join(told)[:500] or first_line(error)


def _spec(port: Any) -> TensorSpec:
    sizes = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, sizes)
