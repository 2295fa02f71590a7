"""The building half of the fake TensorRT: networks, parsers, configurations."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.runtime.engines.tensorrt.fake_tensorrt import World, session

#: The lines after the first of a parser's error, as TensorRT for RTX 1.7 has them without a GPU.
REFUSAL = (
    'creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime "
    "version))",
)


def add_builder(world: World) -> None:
    """Add Builder, OnnxParser and, from 10 on, IProgressMonitor to the module."""
    trt, state, version = world.trt, world.state, world.version
    strong, eleven, complain = world.strong, world.eleven, world.complain

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

        if not eleven:

            def set_output_type(self, index: int, dtype: Any) -> None:
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

        def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
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

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self.pools[pool.name] = pool_size

        def get_memory_pool_limit(self, pool: Any) -> int:
            return self.pools.get(pool.name, 1 << 33)

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            assert isinstance(feature, trt.PreviewFeature)
            (self.previews.add if enable else self.previews.discard)(feature.name)

        def can_run_on_DLA(self, layer: Layer) -> bool:
            return layer.name not in state.not_on_dla

        def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
            return TimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return True

        def get_timing_cache(self) -> Any:
            return self.cache

    class Builder:
        num_DLA_cores = property(lambda self: state.dla_cores)
        max_DLA_batch_size = 4096

        def __init__(self, logger: Any) -> None:
            self.logger = state.logger = logger
            if state.builder_fails:
                complain(logger, state.builder_fails)
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> Network:
            assert flags < 2 << max(trt.NetworkDefinitionCreationFlag), "unknown flags"
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
                "device": config.default_device_type.name,
                "dla": config.DLA_core,
            }
            state.builds.append(built)
            plan = {"plan": built, "model": base64.b64encode(network.model).decode()}
            return memoryview(json.dumps(plan).encode())

    class ParserError:
        _name = "/head/odd"

        def __init__(self, operator: str) -> None:
            self._operator = operator

        def code(self) -> int:
            return 8

        def desc(self) -> str:
            return "\n".join((f"Invalid Node - {self._name}", *REFUSAL, f"(plugin {self._operator})"))

        def node(self) -> int:
            return 3

        if strong:

            def node_name(self) -> str:
                return self._name

            def node_operator(self) -> str:
                return self._operator

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            self.network, self.errors = network, []
            self.num_errors = 0
            state.parser_flags = []

        def set_flag(self, flag: Any) -> None:
            assert isinstance(flag, trt.OnnxParserFlag)
            state.parser_flags.append(flag.name)

        def parse_from_file(self, model: str) -> bool:
            if state.refused_operator:
                self.errors, self.num_errors = [ParserError(state.refused_operator)], 1
                return False
            with open(model, "rb") as stream:
                self.network.model = stream.read()
            found = session(self.network.model)
            shapes = [
                tuple(size if isinstance(size, int) else -1 for size in entry.shape) for entry in found.get_inputs()
            ]
            names = [entry.name for entry in found.get_inputs()]
            self.network.tensors = [Tensor(name, shape, trt.float32) for name, shape in zip(names, shapes, strict=True)]
            self.network.layers = [Layer(name) for name in state.layer_names]
            return True

        def get_error(self, index: int) -> ParserError:
            return self.errors[index]

    trt.Builder, trt.OnnxParser = Builder, OnnxParser
    if strong:

        class IProgressMonitor:
            def __init__(self) -> None:
                pass

        trt.IProgressMonitor = IProgressMonitor
