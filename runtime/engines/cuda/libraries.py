"""Finds out what a machine lacks for CUDA: the driver, a GPU, the provider, or one of its libraries."""

from __future__ import annotations

import ctypes
import sys
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

PROVIDER = "CUDAExecutionProvider"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def no_gpu(device: int = 0) -> str | None:
    """Why the GPU of that index cannot be used, or None."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        return f"no NVIDIA driver ({error})"
    code = driver.cuInit(0)
    count = ctypes.c_int(0)
    if code == 0:
        code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code != 0:
        return f"the NVIDIA driver finds no usable GPU (CUresult {code})"
    if device >= count.value:
        return f"no GPU {device}: the NVIDIA driver finds {count.value}"
    return None


def no_provider(ort: Any) -> str | None:
    """Why this build of ONNX Runtime cannot use a GPU, None if it has the CUDA provider."""
    if PROVIDER in ort.get_available_providers():
        return None
    return (
        f"this build of ONNX Runtime {ort.__version__} has no CUDA provider; "
        "pip uninstall -y onnxruntime && pip install 'rectexport[gpu]'"
    )


@cache
def preload(ort: Any) -> None:
    """Let ONNX Runtime load CUDA and cuDNN from NVIDIA's wheels, if its version can; its output is discarded."""
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls()


def provider_fault(ort: Any) -> str | None:
    """The loader's error when a library of the CUDA provider does not load, or None."""
    prefix, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".so")
    try:
        for part in ("shared", "cuda"):  # "cuda" needs symbols of "shared"
            library = Path(ort.__file__).parent / "capi" / f"{prefix}onnxruntime_providers_{part}{suffix}"
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None
