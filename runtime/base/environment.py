"""What this machine has: installed libraries, the extra that brings a missing one, and usable cores."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType

from rectexport.runtime.errors import MissingDependency

#: Module name -> the extra of rectexport that installs it.
EXTRAS = {
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "onnx_graphsurgeon": "export",
    "safetensors": "export",
    "cryptography": "sign",
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "tensorrt": "gpu",
    "polygraphy": "gpu",
    "matplotlib": "parity",
    "PIL": "parity",
    "tifffile": "images",
    "zarr": "images",
    "jinja2": "report",
    "skimage": "eval",
    "google": "serve",
    "grpc": "serve",
    "httptools": "serve",
    "opentelemetry": "otel",
    "orjson": "serve",
    "prometheus_client": "serve",
    "tritonclient": "serve",
    "uvicorn": "serve",
    "ray": "ray",
    "yaml": "ray",
}

#: Libraries that send usage data to their makers, and the variable that stops it if it is set before the import.
_SENDS = {"onnxruntime": "ORT_DISABLE_TELEMETRY"}
#: Libraries that import another one to send it, and work without that. OpenVINO's forks the process at every import,
#: from a thread; a fork that hangs outlives the process and keeps its pipes open.
_SENDER = {"openvino": "openvino_telemetry"}


def missing(module: str) -> str | None:
    """Why a library cannot be imported, and what to install; None if it is installed. Does not import it."""
    if importlib.util.find_spec(module) is not None:
        return None
    return f"{module} is not installed here; install it with: {_install(module)}"


def require(module: str) -> ModuleType:
    """Import a library, an engine so that it sends no usage data.

    Raises MissingDependency that names the extra to install.
    """
    library = module.partition(".")[0]
    if library in _SENDS:
        os.environ.setdefault(_SENDS[library], "1")
    try:
        with _without(_SENDER.get(library)):
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"{module} cannot be imported here ({error}); install it with: {_install(module)}"
        ) from None


@contextmanager
def _without(module: str | None) -> Iterator[None]:
    """As if a library were not installed, unless it was imported before."""
    if module is None or module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # an import then raises ImportError
    try:
        yield
    finally:
        del sys.modules[module]


def _install(module: str) -> str:
    return f"pip install 'rectexport[{EXTRAS[module.partition('.')[0]]}]'"


def version(distribution: str) -> str | None:
    """Installed version of a distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def onnxruntime_conflict() -> str | None:
    """A warning if both onnxruntime and onnxruntime-gpu are installed, else None.

    Both install into the same folder: the one installed last overwrites the other's libraries, and removing either
    breaks both.
    """
    cpu, gpu = version("onnxruntime"), version("onnxruntime-gpu")
    if cpu is None or gpu is None:
        return None
    return (
        f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed and overwrite each other's files; "
        "keep one: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu "
        "(or onnxruntime on a machine without a GPU)"
    )


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
