"""A CUDA driver in host memory, called through ctypes with the prototypes of cuda.h.

Each function is a C function pointer of its documented type around a Python body: arguments that the module under
test passes with wrong types arrive wrong here too. Streams run at once, except while they are captured. What the
driver would refuse is refused: a thread without the context, an address that nobody allocated, a copy beyond its end.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Any

OUT_OF_MEMORY, INVALID_VALUE, INVALID_CONTEXT, ILLEGAL_ADDRESS, CAPTURE_UNSUPPORTED = 2, 1, 201, 700, 900
#: As the driver aligns memory.
ALIGNMENT = 256
_HANDLE = POINTER(c_void_p)
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_void_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_HANDLE, c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuCtxGetCurrent": (_HANDLE,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (_HANDLE, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _HANDLE),
    "cuGraphInstantiateWithFlags": (_HANDLE, c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventCreate": (_HANDLE, c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
}


class FakeCuda:
    """Settings and counters for tests; the functions are attributes, as in a CDLL."""

    def __init__(self) -> None:
        self.status, self.version, self.capability, self.name = 0, 12080, (9, 0), "NVIDIA H100 80GB HBM3"
        self.memory_limit = 1 << 30
        self.capturable = True
        self.broken = False  # every call fails, as after a kernel that wrote outside of its memory
        self.launches = self.retained = 0
        self.others = 0xBEEF  # the context of another GPU
        self.memory: dict[int, Any] = {}
        self.handles: dict[int, list[Any]] = {}
        self._capturing: dict[int, list[Callable[[], None]]] = {}
        self._threads = threading.local()
        self._next = 0x1000
        for name, types in PROTOTYPES.items():
            body = self._guarded(name, getattr(self, f"_{name.removesuffix('_v2')}"))
            setattr(self, name, ctypes.CFUNCTYPE(c_int, *types)(body))

    def submit(self, stream: int, work: Callable[[], None]) -> None:
        """Run work of a stream, or record it while the stream is captured."""
        assert stream in self.handles, "no such stream"
        assert getattr(self._threads, "context", None), "the context is not current in this thread"
        if stream in self._capturing:
            self._capturing[stream].append(work)
        else:
            work()

    def view(self, address: int, size: int) -> Any:
        """The bytes at a device address. Fails unless they are allocated."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                return (ctypes.c_char * size).from_buffer(block, address - start)
        raise AssertionError(f"{size} bytes at {address:#x} are not allocated")

    def _guarded(self, name: str, body: Callable[..., int]) -> Callable[..., int]:
        free = ("cuInit", "cuDriver", "cuDevice", "cuCtx", "cuGetError")

        def call(*arguments: Any) -> int:
            if self.broken and not name.startswith(("cuGetError", "cuDevice", "cuCtx")):
                return ILLEGAL_ADDRESS
            if not name.startswith(free) and not getattr(self._threads, "context", None):
                return INVALID_CONTEXT
            try:
                return body(*arguments) or 0
            except AssertionError:
                return INVALID_VALUE

        return call

    def _handle(self, out: Any, content: list[Any] | None = None) -> None:
        self._next += 0x10
        self.handles[self._next] = content if content is not None else []
        out[0] = self._next

    def _cuInit(self, flags: int) -> int:
        return self.status

    def _cuDriverGetVersion(self, out: Any) -> None:
        out[0] = self.version

    def _cuDeviceGet(self, out: Any, ordinal: int) -> None:
        out[0] = 7 + ordinal

    def _cuDeviceGetName(self, out: int, length: int, device: int) -> None:
        assert device == 7
        ctypes.memmove(out, self.name.encode()[: length - 1] + b"\0", min(len(self.name) + 1, length))

    def _cuDeviceGetAttribute(self, out: Any, attribute: int, device: int) -> None:
        assert device == 7
        out[0] = self.capability[attribute - 75]

    def _cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        assert device == 7
        self.retained += 1
        out[0] = 0xC0DE

    def _cuCtxSetCurrent(self, context: int | None) -> None:
        assert context in (None, 0xC0DE, self.others)
        self._threads.context = context

    def _cuCtxGetCurrent(self, out: Any) -> None:
        out[0] = getattr(self._threads, "context", None)

    def _cuGetErrorName(self, status: int, out: Any) -> None:
        names = {INVALID_VALUE: b"CUDA_ERROR_INVALID_VALUE", INVALID_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT"}
        names[ILLEGAL_ADDRESS] = b"CUDA_ERROR_ILLEGAL_ADDRESS"
        out[0] = names.get(status, b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    def _cuMemAlloc(self, out: Any, size: int) -> int:
        if size + sum(map(len, self.memory.values())) > self.memory_limit:
            return OUT_OF_MEMORY
        room = bytearray(size + ALIGNMENT)
        start = ctypes.addressof((ctypes.c_char * len(room)).from_buffer(room))
        skipped = -start % ALIGNMENT
        block, address = memoryview(room)[skipped : skipped + size], start + skipped
        self.memory[address] = block
        out[0] = address
        return 0

    def _cuMemFree(self, address: int) -> None:
        assert address in self.memory
        del self.memory[address]

    def _cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        view = self.view(target, size)
        self.submit(stream, lambda: ctypes.memmove(view, source, size))

    def _cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> None:
        view = self.view(source, size)
        self.submit(stream, lambda: ctypes.memmove(target, view, size))

    def _cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        to, of = self.view(target, size), self.view(source, size)
        self.submit(stream, lambda: ctypes.memmove(to, of, size))

    def _cuStreamCreate(self, out: Any, flags: int) -> None:
        assert flags == 1
        self._handle(out)

    def _cuStreamSynchronize(self, stream: int) -> None:
        assert stream in self.handles and stream not in self._capturing

    def _cuStreamDestroy(self, stream: int) -> None:
        del self.handles[stream]

    _cuEventDestroy = _cuGraphDestroy = _cuGraphExecDestroy = _cuStreamDestroy

    def _cuStreamBeginCapture(self, stream: int, mode: int) -> None:
        assert mode == 1 and stream in self.handles and stream not in self._capturing
        self._capturing[stream] = []

    def _cuStreamEndCapture(self, stream: int, out: Any) -> int:
        work = self._capturing.pop(stream)
        if not self.capturable:
            return CAPTURE_UNSUPPORTED
        self._handle(out, work)
        return 0

    def _cuGraphInstantiateWithFlags(self, out: Any, graph: int, flags: int) -> None:
        self._handle(out, list(self.handles[graph]))

    def _cuGraphLaunch(self, graph: int, stream: int) -> None:
        self.launches += 1
        for work in self.handles[graph]:
            self.submit(stream, work)

    def _cuEventCreate(self, out: Any, flags: int) -> None:
        self._handle(out)

    def _cuEventRecord(self, event: int, stream: int) -> None:
        self.submit(stream, lambda: self.handles[event].append(1))

    def _cuEventSynchronize(self, event: int) -> None:
        assert self.handles[event], "nobody recorded it"

    def _cuEventElapsedTime(self, out: Any, begin: int, end: int) -> None:
        assert self.handles[begin] and self.handles[end]
        out[0] = 0.25
