"""Loads plugin libraries into TensorRT's registry, each once in a process: the registry refuses a second load."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from rectexport.runtime.base.files import sha256
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.logger import LogMessages
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput, MissingDependency

#: The function of our plugin library that returns the CUDA version it was built with, as in 13000.
CUDA_VERSION = "rectexportCudaVersion"
#: The registry's message about a library with a plugin of a name, version and namespace that it has already.
_PRESENT = re.compile("exists already|already registered")

#: TensorRT module -> sha256 of a loaded library -> the registry's handle.
_loaded: WeakKeyDictionary[ModuleType, dict[str, Any]] = WeakKeyDictionary()
_lock = threading.Lock()


def load_plugins(paths: Collection[Path], api: Api, said: LogMessages) -> None:
    """Load TensorRT's own plugins and those of the libraries, through the registry, which also calls getCreators.

    A library of the same content that this process has loaded is not loaded again, whatever its path.

    Raises BadInput for a library that does not load, MissingDependency when its CUDA is newer than the driver's.
    """
    api.module.init_libnvinfer_plugins(said.logger, "")
    with _lock:
        handles = _loaded.setdefault(api.module, {})
        for path in paths:
            content = sha256(path)
            if content not in handles:
                handles[content] = _load(path.resolve(), api, said)


def _load(path: Path, api: Api, said: LogMessages) -> Any:
    """The registry's handle of a library, or True if someone else has loaded it into this process."""
    registry = api.module.get_plugin_registry()
    loaded = _is_loaded(path)
    said.errors.clear()
    try:
        handle = registry.load_library(os.fspath(path))  # a bare name instead of the full path would be searched for
    except Exception as error:
        said.errors.append(str(error))
        handle = None
    if handle is None and loaded:
        return True
    if handle is None:
        raise BadInput(f"{path}: TensorRT {api.text} cannot load this plugin library: {_reason(said.errors)}")
    _check_cuda(path, handle, registry)
    return handle


def _is_loaded(path: Path) -> bool:
    """Whether this process has the library."""
    try:
        ctypes.CDLL(os.fspath(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except (OSError, AttributeError):  # not loaded; no such mode on Windows
        return False
    return True


def _reason(messages: Collection[str]) -> str:
    text = next(iter(messages), "")[:300]
    if _PRESENT.search(text):
        return f"this process has loaded another library with plugins of these names ({text}); start a new process"
    return text or "no reason given"


def _check_cuda(path: Path, handle: Any, registry: Any) -> None:
    """Raise MissingDependency when the library's own CUDA runtime needs a newer driver: no kernel would start."""
    built = 0
    with suppress(OSError, AttributeError):  # a library that is not ours
        built = int(getattr(ctypes.CDLL(os.fspath(path)), CUDA_VERSION)())
    driver = cuda.driver().version
    if built // 1000 > driver[0]:
        registry.deregister_library(handle)
        raise MissingDependency(
            f"{path}: this plugin library was built with CUDA {built // 1000}.{built % 1000 // 10}, but the NVIDIA "
            f"driver supports CUDA {driver[0]}.{driver[1]}; update the driver, or build the library with nvcc "
            f"{driver[0]}.x (docs/plugin.md)"
        )
