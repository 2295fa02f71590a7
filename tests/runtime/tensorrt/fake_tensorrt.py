"""TensorRT 8.6, 10 and 11 as far as this project calls them: a module each, with the names that version has.

Which names exist is taken from the Python bindings of release 8.6, 10.13 and 11.1; an attribute that a version lacks
raises AttributeError, as pybind11's classes do. A plan is JSON; running one runs its ONNX file in ONNX Runtime.
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from tests.runtime.tensorrt.fake_cuda import FakeCuda

VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "11.1.0")
_FLAGS = (
    "DEBUG",
    "GPU_FALLBACK",
    "REFIT",
    "DISABLE_TIMING_CACHE",
    "TF32",
    "SPARSE_WEIGHTS",
    "SAFETY_SCOPE",
    "DIRECT_IO",
)
_FLAGS += ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME")
_WEAK_FLAGS = ("FP16", "INT8", "FP8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS")
_DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8, "int32": np.int32, "bool": np.bool_}


@dataclass
class State:
    """What a test sets, and what it finds afterwards."""

    refused_operator: str = ""
    plugin_loads: bool = True
    layer_names: tuple[str, ...] = ()
    build: Callable[[], None] = lambda: None
    build_errors: tuple[str, ...] = ()
    inspector: str = ""
    builder_fails: str = ""
    builds: list[dict[str, Any]] = field(default_factory=list)
    executions: int = 0
    refits: int = 0
    deserialized: int = 0
    layers: list[Any] = field(default_factory=list)


def make_tensorrt(version: str, driver: FakeCuda, state: State) -> ModuleType:
    """The module `tensorrt` of that version."""
    number = tuple(map(int, version.split(".")))
    strong, eleven = number >= (10,), number >= (11,)
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = version

    def enumeration(name: str, members: tuple[str, ...]) -> Any:
        made = enum.IntEnum(name, {member: index for index, member in enumerate(members)})
        setattr(trt, name, made)
        return made

    flags = (*_FLAGS, *(() if eleven else _WEAK_FLAGS))
    flags += ("STRIP_PLAN", "REFIT_IDENTICAL", "WEIGHT_STREAMING") if strong else ()
    flags += ("BF16",) if strong and not eleven else ()
    enumeration("BuilderFlag", flags)
    network_flags = (
        ("STRONGLY_TYPED",) if eleven else ("EXPLICIT_BATCH", "STRONGLY_TYPED" if strong else "EXPLICIT_PRECISION")
    )
    enumeration("NetworkDefinitionCreationFlag", network_flags)
    levels = ("NONE", "AMPERE_PLUS") + (("SAME_COMPUTE_CAPABILITY",) if number >= (10, 13) else ())
    enumeration("HardwareCompatibilityLevel", levels)
    enumeration("PreviewFeature", () if eleven else ("PROFILE_SHARING_0806",))
    if number >= (10, 3):
        enumeration("PreviewFeature", ("PROFILE_SHARING_0806",) * (not eleven) + ("ALIASED_PLUGIN_IO_10_03",))
    enumeration("MemoryPoolType", ("WORKSPACE", "TACTIC_DRAM"))
    enumeration("ProfilingVerbosity", ("LAYER_NAMES_ONLY", "NONE", "DETAILED"))
    enumeration("TacticSource", ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"))
    enumeration("LayerInformationFormat", ("ONELINE", "JSON"))
    enumeration("TensorIOMode", ("NONE", "INPUT", "OUTPUT"))
    enumeration("DeviceType", ("GPU", "DLA"))
    enumeration("LayerType", ("CONVOLUTION", "SHAPE"))
    enumeration("OnnxParserFlag", ("NATIVE_INSTANCENORM",))
    dtypes = {**_DTYPES, **({"int64": np.int64} if strong else {})}
    kinds = enumeration("DataType", (*dtypes, *(("bfloat16",) if strong else ())))
    for kind in kinds:
        setattr(trt, kind.name, kind)

    def nptype(kind: Any) -> Any:
        if kind.name not in dtypes:
            raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
        return dtypes[kind.name]

    trt.nptype = nptype

    class ILogger:
        Severity = enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

        def __init__(self) -> None:
            pass

    trt.ILogger = ILogger

    def complain(logger: Any, text: str, severity: str = "ERROR") -> None:
        logger.log(ILogger.Severity[severity], text)

    class Registry:
        def load_library(self, plugin_path: str) -> Any:
            return object() if state.plugin_loads else None

    trt.init_libnvinfer_plugins = lambda logger, namespace: True
    trt.get_plugin_registry = Registry

    class Tensor:
        is_shape_tensor = False

        def __init__(self, name: str, shape: tuple[int, ...], dtype: Any) -> None:
            self.name, self.shape, self.dtype = name, shape, dtype

    class Layer:
        type = trt.LayerType.CONVOLUTION
        num_outputs = 1

        def __init__(self, name: str) -> None:
            self.name = name
            self.types: dict[int, Any] = {}
            if not eleven:
                self.precision_is_set = False

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "precision":
                if eleven:
                    raise AttributeError(name)
                object.__setattr__(self, "precision_is_set", True)
            object.__setattr__(self, name, value)

        def set_output_type(self, index: int, dtype: Any) -> None:
            assert not eleven
            self.types[index] = dtype

    class Network:
        def __init__(self, flags: int) -> None:
            self.flags, self.model, self.tensors = flags, b"", []
            self.layers: list[Layer] = []

        num_inputs = property(lambda self: len(self.tensors))
        num_layers = property(lambda self: len(self.layers))

        def get_input(self, index: int) -> Tensor:
            return self.tensors[index]

        def get_layer(self, index: int) -> Layer:
            return self.layers[index]

        def __len__(self) -> int:
            return len(self.layers)

        def __getitem__(self, index: int) -> Layer:
            return self.layers[index]

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, list[tuple[int, ...]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            if any(a > b for a, b in zip((*min, *opt), (*opt, *max), strict=True)):
                raise ValueError(f"Shape provided for min is inconsistent with shape provided for max. ({input})")
            self.shapes[input] = [tuple(min), tuple(opt), tuple(max)]

        def __bool__(self) -> bool:
            return True

    class TimingCache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def combine(self, other: Any, ignore_mismatch: bool) -> bool:
            return True

        def serialize(self) -> Any:
            return memoryview(b"cache of " + version.encode())

    class Config:
        __slots__ = ("DLA_core", "cache", "default_device_type", "enabled", "hardware_compatibility_level", "pools")
        __slots__ += ("previews", "profiles", "profiling_verbosity") + (("progress_monitor",) if strong else ())
        __slots__ += () if eleven else ("int8_calibrator",)

        def __init__(self) -> None:
            self.enabled, self.pools, self.profiles, self.previews = {"TF32"}, {}, [], set()
            self.DLA_core, self.default_device_type, self.cache = -1, trt.DeviceType.GPU, None
            self.hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
            if strong:
                self.progress_monitor = None
            if not eleven:
                self.int8_calibrator = None

        num_optimization_profiles = property(lambda self: len(self.profiles))

        def set_flag(self, flag: Any) -> None:
            assert isinstance(flag, trt.BuilderFlag)
            self.enabled.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self.enabled.discard(flag.name)

        def get_flag(self, flag: Any) -> bool:
            return flag.name in self.enabled

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self.pools[pool.name] = size

        def get_memory_pool_limit(self, pool: Any) -> int:
            return self.pools.get(pool.name, 1 << 33)

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def set_preview_feature(self, feature: Any, on: bool) -> None:
            assert isinstance(feature, trt.PreviewFeature)
            (self.previews.add if on else self.previews.discard)(feature.name)

        def create_timing_cache(self, data: bytes) -> TimingCache:
            return TimingCache(bytes(data))

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return True

        def get_timing_cache(self) -> Any:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            if state.builder_fails:
                complain(logger, state.builder_fails)
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> Network:
            assert flags < 1 << len(trt.NetworkDefinitionCreationFlag), "unknown flags"
            return Network(flags)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> Any:
            monitor = config.progress_monitor if strong else None
            if monitor is not None:
                monitor.phase_start("Building Engine", None, 3)
            state.build()
            for step in range(3 if monitor is not None else 0):
                if not monitor.step_complete("Building Engine", step):
                    complain(self.logger, "The build was cancelled.")
                    return None
            if monitor is not None:
                monitor.phase_finish("Building Engine")
            for text in state.build_errors:
                complain(self.logger, text)
            if state.build_errors:
                return None
            typed = bool(network.flags & (1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)) if strong else False
            assert not (typed and config.enabled & {"FP16", "BF16", "INT8"}), "flags on a strongly typed network"
            assert strong or network.flags & 1, "no explicit batch"
            state.layers = network.layers
            built = {
                "version": version,
                "typed": typed,
                "flags": sorted(config.enabled),
                "pools": config.pools,
                "previews": sorted(config.previews),
                "cache": None if config.cache is None else config.cache.data.decode(),
                "hardware": config.hardware_compatibility_level.name,
                "verbosity": config.profiling_verbosity.name,
                "profiles": [profile.shapes for profile in config.profiles],
            }
            state.builds.append(built)
            plan = {"plan": built, "model": base64.b64encode(network.model).decode()}
            return memoryview(json.dumps(plan).encode())

    class ParserError:
        def __init__(self, operator: str) -> None:
            self._operator = operator

        def code(self) -> int:
            return 8

        def desc(self) -> str:
            return f"Assertion failed: creator && no plugin for {self._operator}\nmore"

        def node(self) -> int:
            return 3

        if strong:

            def node_name(self) -> str:
                return "/head/odd"

            def node_operator(self) -> str:
                return self._operator

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            self.network, self.errors = network, []
            self.num_errors = 0

        def parse_from_file(self, model: str) -> bool:
            if state.refused_operator:
                self.errors, self.num_errors = [ParserError(state.refused_operator)], 1
                return False
            with open(model, "rb") as stream:
                self.network.model = stream.read()
            session = _session(self.network.model)
            shapes = [
                tuple(size if isinstance(size, int) else -1 for size in entry.shape) for entry in session.get_inputs()
            ]
            names = [entry.name for entry in session.get_inputs()]
            self.network.tensors = [Tensor(name, shape, trt.float32) for name, shape in zip(names, shapes, strict=True)]
            self.network.layers = [Layer(name) for name in state.layer_names]
            return True

        def get_error(self, index: int) -> ParserError:
            return self.errors[index]

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.shapes, self.addresses = engine, {}, {}
            self.profile = 0

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            self.profile = index
            return index < engine_profiles(self.engine)

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
            self.addresses[name] = memory
            return memory != 0

        def execute_async_v3(self, stream_handle: int) -> bool:
            shapes, addresses = dict(self.shapes), dict(self.addresses)  # what a captured graph keeps
            driver.submit(stream_handle, lambda: self.engine.compute(shapes, addresses))
            state.executions += 1
            return True

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
            self.session = _session(base64.b64decode(plan["model"]))
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

        def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
            return [tuple(shape) for shape in self.plan["profiles"][index][name]]

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

        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            state.deserialized += 1
            plan = json.loads(bytes(serialized_engine))
            foreign = plan["plan"]["version"] != version
            allowed = "VERSION_COMPATIBLE" in plan["plan"]["flags"] and self.engine_host_code_allowed
            if foreign and not allowed:
                complain(self.logger, "The engine plan file is not compatible with this version of TensorRT")
                return None
            return Engine(self.logger, plan)

    for part in (Builder, OnnxParser, Runtime):
        setattr(trt, part.__name__, part)
    if strong:

        class IProgressMonitor:
            def __init__(self) -> None:
                pass

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

        for part in (IProgressMonitor, Refitter, OnnxParserRefitter):
            setattr(trt, part.__name__, part)
    return trt  # type: ignore[no-any-return]


def _session(model: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
