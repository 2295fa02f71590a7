"""TensorRT 8.6, 10 and 11 as far as this project calls them: a module each, with the names that version has.

Enumerations are those of the real Python bindings, and test_bindings.py compares methods and parameters with them; an
attribute that a version lacks raises AttributeError, as pybind11's classes do. A plan is JSON; running one runs its
ONNX file in ONNX Runtime.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from tests.runtime.engines.tensorrt.fake_cuda import FakeCuda

VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "11.1.0", "11.4.0")
#: What the bindings of each version offer; read_bindings.py makes it from the real ones.
BINDINGS: dict[str, Any] = json.loads(Path(__file__).with_name("bindings.json").read_text(encoding="utf-8"))
_DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8, "int32": np.int32, "bool": np.bool_}

#: What TensorRT for RTX 1.7 says to a second load of a library, without a GPU.
SECOND_LOAD = (
    "IPluginRegistry::loadLibrary: Error Code 4: API Usage Error (Cannot register the library as plugin creator of "
    "Rectify exists already. In loadLibraryCommon at /_src/runtime/dispatch/pluginRegistry.cpp:573)",
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime "
    "version))",
)


@dataclass
class State:
    """Settings of a test, and records for it."""

    refused_operator: str = ""
    logger: Any = None
    parser_flags: list[str] = field(default_factory=list)
    plugin_loads: bool = True
    layer_names: tuple[str, ...] = ()
    build: Callable[[], None] = lambda: None
    build_errors: tuple[str, ...] = ()
    inspector: str = ""
    layer_times: dict[str, float] = field(default_factory=dict)
    builder_fails: str = ""
    builds: list[dict[str, Any]] = field(default_factory=list)
    executions: int = 0
    refits: int = 0
    deserialized: int = 0
    layers: list[Any] = field(default_factory=list)
    dla_cores: int = 0
    not_on_dla: tuple[str, ...] = ()


@dataclass
class World:
    """State shared by the parts of one fake TensorRT."""

    trt: Any
    version: str
    driver: FakeCuda
    state: State

    @property
    def number(self) -> tuple[int, ...]:
        """(10, 13, 3)."""
        return tuple(map(int, self.version.split(".")))

    @property
    def strong(self) -> bool:
        """Whether it has strong typing."""
        return self.number >= (10,)

    @property
    def eleven(self) -> bool:
        """Whether it has only strong typing."""
        return self.number >= (11,)

    def complain(self, logger: Any, text: str) -> None:
        """Log an error."""
        logger.log(self.trt.ILogger.Severity.ERROR, text)


def session(model: bytes) -> Any:
    """Computes what TensorRT's kernels would."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def make_tensorrt(version: str, driver: FakeCuda, state: State) -> ModuleType:
    """The module `tensorrt` of that version."""
    trt: Any = ModuleType("tensorrt")
    world = World(trt, version, driver, state)
    strong = world.strong
    complain = world.complain
    trt.__version__ = version

    for name, members in BINDINGS[version]["enumerations"].items():
        setattr(trt, name, enum.IntEnum(name, members))
    dtypes = {**_DTYPES, **({"int64": np.int64} if strong else {})}
    trt.DataType = enum.IntEnum("DataType", [*dtypes, *(("bfloat16",) if strong else ())])
    for kind in trt.DataType:
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

    class Registry:
        loaded: ClassVar[set[bytes]] = set()  # of the process

        def load_library(self, plugin_path: str) -> Any:
            with open(plugin_path, "rb") as stream:
                content = stream.read()
            if content in self.loaded:
                for text in SECOND_LOAD if state.logger is not None else ():
                    complain(state.logger, text)
                return None
            if not state.plugin_loads:
                return None
            self.loaded.add(content)
            return [content]

        def deregister_library(self, handle: Any) -> None:
            self.loaded.remove(*handle)

    def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
        return True  # the registry's messages go to the logger of the first builder or runtime

    trt.init_libnvinfer_plugins = init_libnvinfer_plugins
    trt.get_plugin_registry = Registry

    from tests.runtime.engines.tensorrt.fake_builder import add_builder
    from tests.runtime.engines.tensorrt.fake_runtime import add_runtime

    add_builder(world)
    add_runtime(world)
    return trt  # type: ignore[no-any-return]
