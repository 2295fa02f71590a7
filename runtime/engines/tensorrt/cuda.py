"""The parts of CUDA that inference needs: memory, streams, events, graphs, and the GPU's properties.

Calls the driver API through ctypes. libcuda is installed with the driver, and its functions keep their names and types
between versions; the runtime library (libcudart) would have to be found among the copies in wheels and toolkits.
Streams and addresses are the same in both: TensorRT works in the device's primary context, and so does this module.

Source: CUDA Driver API reference.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from functools import cache
from typing import Any, final

from rectexport.runtime.errors import DeviceError, MissingDependency

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
}
_OUT_OF_MEMORY = 2
_NO_DEVICE = 100
#: Results of cuInit when the driver is older than the CUDA libraries of a container or a toolkit.
_MISMATCHES = (803, 804)
#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_CAPABILITY = (75, 76)
_NON_BLOCKING = 1
_CAPTURE_THIS_THREAD = 1


@cache
def driver() -> Driver:
    """The driver, loaded once per process. Raises MissingDependency if it is missing or too old, or finds no GPU."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise MissingDependency(
            f"no NVIDIA driver: {name} cannot be loaded; build and run on a machine with a GPU "
            "(in a container, start it with --gpus all)"
        ) from None
    return Driver(library)


@final
class Driver:
    """The CUDA driver and its first visible GPU (see CUDA_VISIBLE_DEVICES). Its methods raise DeviceError."""

    def __init__(self, library: Any) -> None:
        self._library = library
        for name, types in _SIGNATURES.items():
            getattr(library, name).argtypes = types
        status = library.cuInit(0)
        if status == _NO_DEVICE:
            raise MissingDependency("no GPU: the NVIDIA driver is installed but finds none; check CUDA_VISIBLE_DEVICES")
        if status in _MISMATCHES:
            raise MissingDependency(
                "the NVIDIA driver is too old for the CUDA libraries that are installed beside it "
                f"(cuInit: {status}); update the driver"
            )
        if status:
            raise MissingDependency(f"the NVIDIA driver does not start (cuInit: {status}); check nvidia-smi")
        device = c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._context: int | None = None
        self._lock = threading.Lock()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the GPU's context current in this thread while the block runs; memory and streams need it.

        The context that was current before is current again afterwards: the caller may be working on another GPU.
        """
        previous = c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(previous))
        self._call("cuCtxSetCurrent", self._primary_context())
        try:
            yield
        finally:  # with its status unchecked: an error of the block is the one to report
            self._library.cuCtxSetCurrent(previous)

    def _primary_context(self) -> int | None:
        with self._lock:
            if self._context is None:  # a context takes GPU memory, and queries do not need one
                context = c_void_p()
                self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
                self._context = context.value
        return self._context

    @property
    def version(self) -> tuple[int, int]:
        """The newest CUDA version that the driver supports, as in (12, 4)."""
        value = c_int()
        self._call("cuDriverGetVersion", ctypes.byref(value))
        return value.value // 1000, value.value % 1000 // 10

    @property
    def gpu(self) -> str:
        """The GPU's name."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode("utf-8", "replace")

    @property
    def compute_capability(self) -> tuple[int, int]:
        """The GPU's compute capability, as in (9, 0)."""
        numbers = []
        for attribute in _CAPABILITY:
            value = c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
            numbers.append(value.value)
        return numbers[0], numbers[1]

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of device memory; returns the address. Raises DeviceError when there is not enough."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1), what=f"{size} bytes of GPU memory")
        return address.value

    def free(self, address: int) -> None:
        """Free memory from `allocate`."""
        self._call("cuMemFree_v2", address)

    def upload(self, address: int, host: int, size: int, stream: int) -> None:
        """Copy `size` bytes from host to device memory, in the stream's order."""
        self._call("cuMemcpyHtoDAsync_v2", address, host, size, stream)

    def download(self, host: int, address: int, size: int, stream: int) -> None:
        """Copy `size` bytes from device to host memory, in the stream's order."""
        self._call("cuMemcpyDtoHAsync_v2", host, address, size, stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy `size` bytes within device memory, in the stream's order."""
        self._call("cuMemcpyDtoDAsync_v2", target, source, size, stream)

    def create_stream(self) -> int:
        """A stream that does not wait for the default stream."""
        return self._created("cuStreamCreate", _NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        """Wait until the stream is done."""
        self._call("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Free a stream."""
        self._call("cuStreamDestroy_v2", stream)

    @contextmanager
    def capture(self, stream: int) -> Iterator[list[int]]:
        """Record the block's work on the stream instead of running it; the list then holds the graph."""
        found: list[int] = []
        graph = c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, _CAPTURE_THIS_THREAD)
        try:
            yield found
        finally:  # a capture that is not ended would make the stream unusable
            status = self._library.cuStreamEndCapture(stream, ctypes.byref(graph))
        self._check("cuStreamEndCapture", status)
        try:
            found.append(self._created("cuGraphInstantiateWithFlags", graph, 0))
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Run a captured graph."""
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Free a captured graph."""
        self._call("cuGraphExecDestroy", graph)

    def create_event(self) -> int:
        """An event with timing."""
        return self._created("cuEventCreate", 0)

    def record(self, event: int, stream: int) -> None:
        """Record the event after the work queued on the stream so far."""
        self._call("cuEventRecord", event, stream)

    def milliseconds(self, begin: int, end: int) -> float:
        """Milliseconds between two events; waits for the second."""
        value = c_float()
        self._call("cuEventSynchronize", end)
        self._call("cuEventElapsedTime", ctypes.byref(value), begin, end)
        return value.value

    def destroy_event(self, event: int) -> None:
        """Free an event."""
        self._call("cuEventDestroy_v2", event)

    def _created(self, function: str, *arguments: Any) -> int:
        handle = c_void_p()
        self._call(function, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _call(self, function: str, *arguments: Any, what: str = "GPU memory") -> None:
        self._check(function, getattr(self._library, function)(*arguments), what)

    def _check(self, function: str, status: int, what: str = "GPU memory") -> None:
        if status == _OUT_OF_MEMORY:
            raise DeviceError(
                f"out of memory on {self.gpu}: {what} could not be allocated; free the GPU or use smaller shapes"
            )
        if status:
            name = c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(name))
            raise DeviceError(f"{function} failed: {(name.value or b'unknown error').decode()} ({status})")
