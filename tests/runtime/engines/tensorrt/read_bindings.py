"""Write bindings.json: what the Python bindings of each supported TensorRT offer, by importing the real ones.

    python -m tests.runtime.engines.tensorrt.read_bindings VERSION=FOLDER ...

FOLDER holds an unpacked wheel of the bindings, for the Python that runs this: `pip install --no-deps --target FOLDER
tensorrt-cu12-bindings==10.3.0`, or tensorrt-bindings for 8.6. The libraries behind them, of gigabytes and for GPU
machines, are replaced by empty functions, which is enough to import. Needs a C compiler, nm and readelf.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("bindings.json")
CLASSES = (
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IPluginRegistry",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "OnnxParserRefitter",
    "ParserError",
    "Refitter",
    "Runtime",
)
ENUMERATIONS = (
    "BuilderFlag",
    "DeviceType",
    "HardwareCompatibilityLevel",
    "LayerInformationFormat",
    "LayerType",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParserFlag",
    "PreviewFeature",
    "ProfilingVerbosity",
    "TacticSource",
    "TensorIOMode",
)
#: Names of types, beside their NumPy names.
TYPES = ("bfloat16", "bool", "float16", "float32", "int32", "int64", "int8")
FUNCTIONS = ("get_plugin_registry", "init_libnvinfer_plugins")
_LIBRARIES = re.compile(r"nvinfer|nvonnx|nvcaffe|nvuff|NvOnnx|^create|^(?:get|init|shutdown)[A-Z]")
_SIGNATURE = re.compile(r"\w+\((.*)\)(?: -> .*)?$")


def read(folder: Path) -> dict[str, Any]:
    """Enumerations with values, functions and classes: methods with the names of their parameters, None for others."""
    module = _import(next(folder.glob("tensorrt_bindings/tensorrt*.so")))
    found: dict[str, Any] = {"enumerations": {}, "functions": {}, "classes": {}}
    found["types"] = [name for name in TYPES if hasattr(module, name)]
    for name in sorted(dir(module)):
        value = getattr(module, name)
        if name in ENUMERATIONS:
            found["enumerations"][name] = {key: int(member) for key, member in value.__members__.items()}
        elif name in FUNCTIONS:
            found["functions"][name] = _parameters(value)
        elif name in CLASSES:
            public = [key for key in dir(value) if not key.startswith("_")]
            found["classes"][name] = {key: _parameters(getattr(value, key)) for key in public}
    return found


def _import(library: Path) -> Any:
    def lines(*command: str) -> list[str]:
        return subprocess.run([*command, str(library)], capture_output=True, text=True, check=True).stdout.splitlines()

    needed = re.findall(r"NEEDED.*\[(libnv\S+)\]", "\n".join(lines("readelf", "-d")))
    symbols = [line.split()[-1].split("@")[0] for line in lines("nm", "-D", "--undefined-only")]
    functions = [symbol for symbol in symbols if _LIBRARIES.search(symbol)]
    with tempfile.TemporaryDirectory() as folder:
        for index, name in enumerate(needed):
            source = "\n".join(f"long {symbol}() {{ return 0; }}" for symbol in functions if index == 0)
            words = ["cc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-x", "c", "-", "-o", f"{folder}/{name}"]
            subprocess.run(words, input=source, text=True, check=True)
            ctypes.CDLL(f"{folder}/{name}", mode=ctypes.RTLD_GLOBAL)
        spec = importlib.util.spec_from_file_location("tensorrt", library)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _parameters(value: Any) -> list[str] | None:
    """Names of a function's parameters, of its first form where it has several; None for a property or constant."""
    documented = [line for line in (getattr(value, "__doc__", None) or "").splitlines() if _SIGNATURE.search(line)]
    documented = [line for line in documented if "*args" not in line]  # the heading of several forms
    if isinstance(value, property) or not callable(value) or not documented:
        return None
    match = _SIGNATURE.search(documented[0])
    names = re.findall(r"(\w+): ", re.sub(r"[\[<].*?[\]>]", "", match[1] if match else ""))
    return [name for name in names if name != "self"]


def main(arguments: list[str]) -> None:
    """One process for each version: their libraries have the same names."""
    if len(arguments) == 1:
        print(json.dumps(read(Path(arguments[0].partition("=")[2]))))
        return
    table = {}
    for argument in arguments:
        words = [sys.executable, "-m", "tests.runtime.engines.tensorrt.read_bindings", argument]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        table[argument.partition("=")[0]] = json.loads(said)
    lines = [f"{json.dumps(version)}: {json.dumps(row, sort_keys=True)}" for version, row in sorted(table.items())]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
