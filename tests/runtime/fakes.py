"""A GPU that is not there: a CuPy whose arrays lie on the host, and an ONNX Runtime that says CUDA and means the CPU.

What the runner does with addresses, bindings and graphs is then carried out for real, on the host.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]


class FakeCupyArray:
    """The part of cupy.ndarray that a session uses, around a NumPy array."""

    def __init__(self, host: np.ndarray, device: int = 0) -> None:
        self.host = host
        self.index = device

    dtype = property(lambda self: self.host.dtype)
    shape = property(lambda self: self.host.shape)
    flags = property(lambda self: SimpleNamespace(c_contiguous=self.host.flags.c_contiguous))
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data))
    device = property(lambda self: Device(self.index))


class Device:
    """cupy.cuda.Device, as a context that changes nothing."""

    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None: ...


def fake_cupy() -> Any:
    """The module; `synchronized` counts how often a stream was waited for."""
    module = SimpleNamespace(ndarray=FakeCupyArray, synchronized=0)

    def synchronize() -> None:
        module.synchronized += 1

    def asarray(value: Any, order: str = "K") -> FakeCupyArray:
        if isinstance(value, FakeCupyArray):
            return FakeCupyArray(np.asarray(value.host, order=order), value.index)  # type: ignore[call-overload]
        seen = value.__cuda_array_interface__
        count = int(np.prod(seen["shape"]))
        memory = (ctypes.c_char * (count * np.dtype(seen["typestr"]).itemsize)).from_address(seen["data"][0])
        return FakeCupyArray(np.frombuffer(memory, seen["typestr"]).reshape(seen["shape"]))

    module.asarray = asarray
    module.copyto = lambda target, source: np.copyto(target.host, source.host)
    module.empty = lambda shape, dtype: FakeCupyArray(np.full(shape, 77, dtype))
    module.isfinite = lambda value: np.isfinite(value.host)
    module.isnan = lambda value: np.isnan(value.host)
    module.cuda = SimpleNamespace(Device=Device, get_current_stream=lambda: SimpleNamespace(synchronize=synchronize))
    return module


class FakeBinding:
    """An IOBinding that binds host memory in place of GPU memory."""

    def __init__(self, binding: Any, log: list[tuple[Any, ...]]) -> None:
        self.real = binding
        self.log = log

    def bind_cpu_input(self, name: str, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.real.bind_cpu_input(name, array)

    def bind_input(self, name: str, kind: str, device: int, element: Any, shape: Any, pointer: int) -> None:
        self.log.append(("input", name, kind, device, pointer))
        self.real.bind_input(name, "cpu", 0, element, shape, pointer)

    def bind_output(self, name: str, kind: str, device: int = 0, *rest: Any) -> None:
        self.log.append(("output", name, kind, device, rest[-1] if rest else None))
        self.real.bind_output(name, "cpu", 0, *rest)

    def get_outputs(self) -> list[Any]:
        return [FakeOrtValue(value) for value in self.real.get_outputs()]

    def bind_ortvalue_output(self, name: str, value: FakeOrtValue) -> None:
        self.log.append(("fixed", name))
        self.real.bind_ortvalue_output(name, value.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class FakeOrtValue:
    """An OrtValue on the fake GPU: numpy() returns a copy."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def numpy(self) -> np.ndarray:
        return self.real.numpy().copy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class FakeOrt:
    """The module onnxruntime with a CUDA provider. `runs` holds the gpu_graph_id of every run, None without one."""

    def __init__(self, providers: Collection[str] = PROVIDERS, on_cpu: Collection[str] = ()) -> None:
        import onnxruntime

        self.real = onnxruntime
        self.providers = list(providers)
        self.on_cpu = on_cpu
        self.asked: list[Any] = []
        self.arguments: list[Any] = []
        self.bound: list[tuple[Any, ...]] = []
        self.runs: list[str | None] = []
        self.fallback_disabled = 0
        self.OrtValue = SimpleNamespace(
            ortvalue_from_numpy=lambda array, kind, device: onnxruntime.OrtValue.ortvalue_from_numpy(array)
        )

    def get_available_providers(self) -> list[str]:
        return list(PROVIDERS)

    def InferenceSession(self, path: str, options: Any, providers: Any, **arguments: Any) -> FakeSession:
        self.asked.append(providers)
        self.arguments.append(arguments)
        real = self.real.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return FakeSession(real, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class FakeSession:
    """A session on the CPU that reports the CUDA provider."""

    def __init__(self, real: Any, ort: FakeOrt) -> None:
        self.real = real
        self.ort = ort

    def get_providers(self) -> list[str]:
        return self.ort.providers

    def disable_fallback(self) -> None:
        self.ort.fallback_disabled += 1
        self.real.disable_fallback()

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self.real.io_binding(), self.ort.bound)

    def run_with_iobinding(self, binding: FakeBinding, options: Any = None) -> None:
        self.ort.runs.append(None if options is None else options.get_run_config_entry("gpu_graph_id"))
        self.real.run_with_iobinding(binding.real, options)

    def end_profiling(self) -> str:
        path = Path(self.real.end_profiling())
        events = json.loads(path.read_text())
        for event in events:
            if "provider" in event.get("args", {}) and event["args"]["op_name"] not in self.ort.on_cpu:
                event["args"]["provider"] = "CUDAExecutionProvider"
        path.write_text(json.dumps(events))
        return str(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
