"""A deserialized engine: its tensors, its layers, its execution contexts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.logger import LogMessages, explain
from rectexport.runtime.engines.tensorrt.building.registry import load_plugins
from rectexport.runtime.engines.tensorrt.profiles import Profile
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import DeviceError, RectexportError


@final
class Engine:
    """Loads a plan; `name` is used in messages.

    host_code allows TensorRT to execute the lean runtime inside a version-compatible plan. dla_core is the accelerator
    of a Jetson that the plan was built for. Raises MissingDependency, DeviceError or BadInput when TensorRT refuses the
    plan.
    """

    def __init__(
        self,
        plan: bytes,
        api: Api,
        name: str,
        plugins: Sequence[Path] = (),
        host_code: bool = False,
        dla_core: int | None = None,
    ) -> None:
        self._api, self._name = api, name
        self._said = LogMessages(api)
        with cuda.driver().active():
            self._load(plan, plugins, host_code, dla_core)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        mode = api.module.TensorIOMode
        self.inputs = [self._spec(entry) for entry in names if self._engine.get_tensor_mode(entry) == mode.INPUT]
        self.outputs = [self._spec(entry) for entry in names if self._engine.get_tensor_mode(entry) == mode.OUTPUT]
        self.profiles = [self._profile(index) for index in range(self._engine.num_optimization_profiles)]

    def _load(self, plan: bytes, plugins: Sequence[Path], host_code: bool, dla_core: int | None) -> None:
        try:
            self._runtime: Any = self._api.module.Runtime(self._said.logger)  # before the plugins, as the Builder is
            if host_code:
                self._runtime.engine_host_code_allowed = True
            if dla_core is not None:
                self._runtime.DLA_core = dla_core
            load_plugins(plugins, self._api, self._said)
            self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        except RectexportError:
            raise
        except Exception as error:
            raise explain(self._name, self._api, [str(error), *self._said.errors]) from None
        if self._engine is None:
            raise explain(self._name, self._api, self._said.errors)

    def _spec(self, name: str) -> TensorSpec:
        dtype = np.dtype(self._api.module.nptype(self._engine.get_tensor_dtype(name))).name
        shape = tuple(None if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
        return TensorSpec(name, dtype, shape)

    def _profile(self, index: int) -> Profile:
        sides = {spec.name: self._engine.get_tensor_profile_shape(spec.name, index) for spec in self.inputs}
        return {name: ShapeRange(*(tuple(map(int, shape)) for shape in shapes)) for name, shapes in sides.items()}

    @property
    def profiler_base(self) -> Any:
        """TensorRT's class that profilers are made from."""
        return self._api.module.IProfiler

    def inspect(self) -> str:
        """The engine inspector's JSON."""
        text = self._engine.create_engine_inspector().get_engine_information(
            self._api.module.LayerInformationFormat.JSON
        )
        return str(text)

    def create_context(self) -> Any:
        """A new execution context. Raises DeviceError when its memory cannot be allocated."""
        context = self._engine.create_execution_context()
        if context is None:
            error = explain(self._name, self._api, self._said.errors)
            raise DeviceError(f"no execution context: {error}")
        return context

    def refit(self, model: Path) -> None:
        """Load the weights of an ONNX file into a plan without weights. Raises BadInput when they do not fit."""
        trt = self._api.module
        with cuda.driver().active():
            refitter = trt.Refitter(self._engine, self._said.logger)
            parser = trt.OnnxParserRefitter(refitter, self._said.logger)
            done = parser.refit_from_file(str(model)) and refitter.refit_cuda_engine()
        if not done:
            raise explain(f"{self._name}: its weights could not be loaded from {model}", self._api, self._said.errors)

    def last_error(self) -> str:
        """TensorRT's last error message."""
        return str(self._said.errors[-1])[:400] if self._said.errors else "no reason given"

    def close(self) -> None:
        """Free the engine; close its contexts first."""
        with cuda.driver().active():
            self._engine = self._runtime = None
        self._said.stop()
