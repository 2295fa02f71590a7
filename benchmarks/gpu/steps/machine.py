"""Which libraries import, and the GPU with its clocks, which are recorded and not changed."""

from __future__ import annotations

import platform
import subprocess
import time
from importlib import import_module

from benchmarks.gpu import dry
from benchmarks.gpu.bench import Bench

LIBRARIES = (
    *("numpy", "torch", "triton", "cupy", "cudnn", "onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime"),
    *("polygraphy", "tensorrt", "tensorrt_rtx", "rectexport"),
)
PROPERTIES = (
    *("name", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
    *("power.limit", "temperature.gpu"),
)


def run(bench: Bench) -> None:
    """Import each, and ask nvidia-smi and nvcc."""
    bench.record.row("Machine", property="Python", value=f"{platform.python_version()}, {platform.machine()}")
    asked = ["nvidia-smi", f"--query-gpu={','.join(PROPERTIES)}", "--format=csv,noheader"]
    values = (dry.NVIDIA_SMI if bench.dry else said(asked)).split(",")
    for name, value in zip(PROPERTIES, values, strict=True):
        bench.record.row("Machine", property=name, value=value.strip())
    nvcc = dry.NVCC if bench.dry else said(["nvcc", "--version"])
    bench.record.row("Machine", property="nvcc", value=nvcc.strip().splitlines()[-1])
    for name in LIBRARIES:
        begin = time.monotonic()
        try:
            found = str(getattr(import_module(name), "__version__", "imported"))
        except Exception as error:  # a library without its driver raises anything
            found = f"absent: {error}".splitlines()[0][:120]
        bench.record.row("Libraries", name=name, version=found, seconds=f"{time.monotonic() - begin:.1f}")


def said(command: list[str]) -> str:
    """What a program prints. Raises OSError or CalledProcessError where there is none."""
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=True).stdout
