"""Frames on the socket between the server and a worker: a JSON header, then the tensors' raw bytes.

A frame is the header's length (4 bytes, little-endian), the header, and the tensors one after another. The header's
`tensors` lists [name, dtype, shape] of each. The rows of several requests follow one another in the order of the
requests, so the worker reads them as one batch and nothing is copied to join them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import Array

_LENGTH = struct.Struct("<I")
#: Frames of up to this many bytes are sent in one piece.
SMALL = 64 << 10
Header = dict[str, Any]
Frame = tuple[Header, dict[str, Array]]


def head(header: Header) -> bytes:
    """A header as bytes, preceded by its length."""
    data = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


def described(arrays: Mapping[str, Array]) -> list[Any]:
    """The header's `tensors` entry for these arrays."""
    return [[name, array.dtype.str, array.shape] for name, array in arrays.items()]


def flat(array: Array) -> memoryview:
    """An array's memory as bytes, without a copy if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def gathered(parts: list[Any]) -> list[Any]:
    """Join small parts into one: a system call and waking the other side cost more than the copy."""
    return [b"".join(parts)] if sum(map(len, parts)) <= SMALL else parts


def send(link: socket.socket, header: Header, arrays: Iterable[Array] = ()) -> None:
    """Write one frame to a blocking socket."""
    for part in gathered([head(header), *(flat(array) for array in arrays if array.size)]):
        link.sendall(part)


def receive(link: socket.socket) -> Frame | None:
    """Read one frame from a blocking socket; None when the other side has closed it."""
    length = bytearray(_LENGTH.size)
    if not _fill(link, memoryview(length)):
        return None
    data = bytearray(_LENGTH.unpack(length)[0])
    if not _fill(link, memoryview(data)):
        return None
    header = json.loads(data)
    arrays = _empty(header)
    return (header, arrays) if all(_fill(link, flat(array)) for array in arrays.values() if array.size) else None


def _fill(link: socket.socket, view: memoryview) -> bool:
    while view.nbytes:
        count = link.recv_into(view)
        if not count:
            return False
        view = view[count:]
    return True


def _empty(header: Header) -> dict[str, Array]:
    return {name: np.empty(shape, dtype) for name, dtype, shape in header.get("tensors", ())}


@final
class FrameProtocol(asyncio.BufferedProtocol):
    """The event loop's end of the socket: calls `got` with each frame, and `lost` when the other side closes it."""

    def __init__(self, got: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        self._got, self._lost = got, lost
        self._begin()

    def _begin(self) -> None:
        self._header: Header | None = None
        self._arrays: dict[str, Array] = {}
        self._parts: list[memoryview] = []
        self._read(memoryview(bytearray(_LENGTH.size)), self._got_length)

    def _read(self, view: memoryview, then: Callable[[memoryview], None]) -> None:
        self._view, self._filled, self._then = view, 0, then

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == len(self._view):
            self._then(self._view)

    def _got_length(self, view: memoryview) -> None:
        self._read(memoryview(bytearray(_LENGTH.unpack(view)[0])), self._got_header)

    def _got_header(self, view: memoryview) -> None:
        self._header = json.loads(bytes(view))
        self._arrays = _empty(self._header)
        self._parts = [flat(array) for array in self._arrays.values() if array.size]
        self._next(view)

    def _next(self, view: memoryview) -> None:
        if self._parts:
            self._read(self._parts.pop(0), self._next)
            return
        header, arrays = self._header, self._arrays
        assert header is not None
        self._begin()
        self._got((header, arrays))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()
