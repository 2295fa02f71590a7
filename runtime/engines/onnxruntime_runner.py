"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from rectexport.runtime.base.engine_errors import CLOSED, first_line, shown
from rectexport.runtime.base.environment import onnxruntime_conflict, require
from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.errors import BadInput
from rectexport.runtime.layouts import AUTO_LAYOUT, PLAIN

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
#: ONNX Runtime's optimizer that takes convolutions into the blocked layout NCHWc.
_BLOCKED = ["NchwcTransformer"]


@final
class OnnxRuntimeRunner:
    """Runs a model file, or its bytes, on ONNX Runtime's CPU provider.

    threads 0 lets ONNX Runtime choose the number of intra-op threads. optimize=False runs the graph unchanged, for
    comparing graphs. layout is one of LAYOUTS: "plain" turns the blocked layout off and no other optimization. profile
    is the beginning of the path of ONNX Runtime's own profile, which `end_profiling` finishes. weights are the values
    of stored tensors that the bytes name as external data. Raises BadInput when ONNX Runtime refuses the model,
    MissingDependency when it is not installed.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int = 0,
        optimize: bool = True,
        layout: str = AUTO_LAYOUT,
        profile: Path | None = None,
        weights: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        ort = require("onnxruntime")
        conflict = onnxruntime_conflict()
        if conflict:
            warnings.warn(conflict, RuntimeWarning, stacklevel=2)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # ONNX Runtime also raises what it logs; untrusted names in its log must not reach a terminal.
        options.log_severity_level = 4
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = os.fspath(profile)
        values = {key: ort.OrtValue.ortvalue_from_numpy(array) for key, array in weights.items()}
        if values:
            options.add_external_initializers(list(values), list(values.values()))
        source = model if isinstance(model, bytes) else os.fspath(model)
        name = "model" if isinstance(model, bytes) else str(model)
        try:
            self._session: Any = ort.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_BLOCKED if layout == PLAIN else None,
            )
        except Exception as error:
            raise BadInput(f"{name}: ONNX Runtime {ort.__version__} refuses it: {first_line(error)}") from None
        self._description = f"ONNX Runtime {ort.__version__}, CPU{', plain layout' if layout == PLAIN else ''}"
        self._inputs = [spec_of(value) for value in self._session.get_inputs()]
        self._outputs = [spec_of(value) for value in self._session.get_outputs()]
        self._names = [spec.name for spec in self._outputs]

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
        session = self._session
        if session is None:
            raise BadInput(CLOSED)
        try:
            return dict(zip(self._names, session.run(self._names, dict(feeds)), strict=True))
        except Exception as error:
            raise BadInput(f"ONNX Runtime could not run with {shown(feeds)}: {first_line(error)}") from None

    def end_profiling(self) -> Path:
        """Finish the profile and return its path. Raises BadInput after close()."""
        if self._session is None:
            raise BadInput(CLOSED)
        return Path(self._session.end_profiling())

    def close(self) -> None:
        self._session = None


def spec_of(value: Any) -> TensorSpec:
    """The specification of one of ONNX Runtime's inputs or outputs."""
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), tuple(value.shape))
