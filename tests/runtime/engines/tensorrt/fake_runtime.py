"""The running half of the fake TensorRT: engines, contexts, inspectors, refitters."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from tests.runtime.engines.tensorrt.fake_cuda import ALIGNMENT
from tests.runtime.engines.tensorrt.fake_tensorrt import World, session


def add_runtime(world: World) -> None:
    """Add Runtime and, from 10 on, the refitters to the module."""
    trt, state, version, driver = world.trt, world.state, world.version, world.driver
    strong, complain = world.strong, world.complain

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.shapes, self.addresses = engine, {}, {}
            self.profile = 0
            self.profiler: Any = None

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            self.profile = profile_index
            return profile_index < engine_profiles(self.engine)

        def set_input_shape(self, name: str, shape: Any) -> bool:
            low, _, high = self.engine.get_tensor_profile_shape(name, self.profile)
            if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                complain(self.engine.logger, f"Static dimension mismatch while setting input shape for {name}.")
                return False
            self.shapes[name] = tuple(shape)
            return True

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            feeds = {key: np.zeros(shape, np.float32) for key, shape in self.shapes.items()}
            names = [entry.name for entry in self.engine.session.get_outputs()]
            return tuple(self.engine.session.run(None, feeds)[names.index(name)].shape)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if memory == 0 or memory % ALIGNMENT:
                complain(self.engine.logger, f"IExecutionContext::setTensorAddress: {name} is not aligned")
                return False
            self.addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            shapes, addresses = dict(self.shapes), dict(self.addresses)  # what a captured graph keeps
            driver.submit(stream_handle, lambda: self.engine.compute(shapes, addresses))
            state.executions += 1
            if self.profiler is not None:
                for name, milliseconds in state.layer_times.items():
                    self.profiler.report_layer_time(name, milliseconds)
            return True

    class IProfiler:
        def __init__(self) -> None:
            self.made = True

    trt.IProfiler = IProfiler

    class Inspector:
        def __init__(self, plan: dict[str, Any]) -> None:
            self._plan = plan

        def get_engine_information(self, format: Any) -> str:
            assert format == trt.LayerInformationFormat.JSON
            if state.inspector:
                return state.inspector
            half = "FP16" in self._plan["flags"]
            kind = ("Half" if half else "Float") if strong else f"Row major linear FP{16 if half else 32} format"
            tensor = {"Name": "x", "Dimensions": [1, 1, 8, 8], "Format/Datatype": kind}
            layer = {"Name": "conv", "LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [tensor]}
            return json.dumps({"Layers": [{**layer, "Outputs": [tensor], "TacticName": "sm80_xmma"}], "Bindings": []})

    class Engine:
        def __init__(self, logger: Any, plan: dict[str, Any]) -> None:
            self.logger, self.plan = logger, plan["plan"]
            self.session = session(base64.b64decode(plan["model"]))
            entries = [(entry, "INPUT") for entry in self.session.get_inputs()]
            entries += [(entry, "OUTPUT") for entry in self.session.get_outputs()]
            self.tensors = {entry.name: (entry, trt.TensorIOMode[mode]) for entry, mode in entries}
            self.num_io_tensors = len(self.tensors)
            self.num_optimization_profiles = len(self.plan["profiles"])

        def get_tensor_name(self, index: int) -> str:
            return list(self.tensors)[index]

        def get_tensor_mode(self, name: str) -> Any:
            return self.tensors[name][1]

        def get_tensor_dtype(self, name: str) -> Any:
            return trt.float32

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name][0].shape)

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            return [tuple(shape) for shape in self.plan["profiles"][profile_index][name]]

        def create_execution_context(self) -> Any:
            return Context(self)

        def create_engine_inspector(self) -> Inspector:
            return Inspector(self.plan)

        def compute(self, shapes: dict[str, Any], addresses: dict[str, int]) -> None:
            feeds = {
                name: np.frombuffer(driver.view(addresses[name], 4 * int(np.prod(shape))), np.float32).reshape(shape)
                for name, shape in shapes.items()
            }
            for entry, value in zip(self.session.get_outputs(), self.session.run(None, feeds), strict=True):
                target = np.frombuffer(driver.view(addresses[entry.name], value.nbytes), value.dtype)
                target[...] = value.reshape(-1)

    def engine_profiles(engine: Engine) -> int:
        return engine.num_optimization_profiles

    class Runtime:
        engine_host_code_allowed = False
        DLA_core = -1

        def __init__(self, logger: Any) -> None:
            self.logger = state.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            state.deserialized += 1
            plan = json.loads(bytes(serialized_engine))
            foreign = plan["plan"]["version"] != version
            allowed = "VERSION_COMPATIBLE" in plan["plan"]["flags"] and self.engine_host_code_allowed
            if foreign and not allowed:
                complain(self.logger, "The engine plan file is not compatible with this version of TensorRT")
                return None
            assert plan["plan"]["dla"] == self.DLA_core, "the engine is for another DLA core"
            return Engine(self.logger, plan)

    trt.Runtime = Runtime
    if strong:

        class Refitter:
            def __init__(self, engine: Engine, logger: Any) -> None:
                pass

            def refit_cuda_engine(self) -> bool:
                return True

        class OnnxParserRefitter:
            def __init__(self, refitter: Refitter, logger: Any) -> None:
                pass

            def refit_from_file(self, model: str) -> bool:
                state.refits += 1
                return True

        trt.Refitter, trt.OnnxParserRefitter = Refitter, OnnxParserRefitter
