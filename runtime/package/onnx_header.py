"""Reads an ONNX file's operator set versions without the ONNX library.

Protocol buffers: https://protobuf.dev/programming-guides/encoding, fields: onnx.proto of https://github.com/onnx/onnx.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from rectexport.runtime.errors import BadInput

#: Field numbers of ModelProto, FunctionProto and OperatorSetIdProto.
_MODEL_OPSETS, _MODEL_FUNCTIONS, _FUNCTION_OPSETS, _VERSION = 8, 25, 9, 2
_VARINT, _FIXED, _BYTES = 0, {1: 8, 5: 4}, 2
#: Far above every real operator set version.
LARGEST_OPSET = 1 << 16
_LONGEST_VARINT = 10


def check_opsets(path: Path) -> None:
    """Raise BadInput for an impossible operator set version: OpenVINO counts down from it, which could take years.

    Does nothing for a file that is not a protocol buffer: the engine refuses it.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            versions = list(_versions(data))
        except (IndexError, ValueError):
            return
    for version in versions:
        if not 0 <= version <= LARGEST_OPSET:
            raise BadInput(f"{path}: opset {version}: expected at most {LARGEST_OPSET}; export the model again")


def _versions(data: mmap.mmap) -> Iterator[int]:
    for number, begin, end in _messages(data, 0, len(data)):
        if number == _MODEL_OPSETS:
            yield _version(data, begin, end)
        if number == _MODEL_FUNCTIONS:
            opsets = (entry for entry in _messages(data, begin, end) if entry[0] == _FUNCTION_OPSETS)
            yield from (_version(data, inner, last) for _, inner, last in opsets)


def _version(data: mmap.mmap, begin: int, end: int) -> int:
    """The last value of the version field, as in every reader of protocol buffers."""
    version = 0
    for number, value, place in _fields(data, begin, end):
        if number == _VERSION and place is None:
            version = value
    return version


def _messages(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, begin and end of the length-delimited fields."""
    for number, length, place in _fields(data, begin, end):
        if place is not None:
            yield number, place, place + length


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """(number, value, None) for a varint field, (number, length, place) for a length-delimited one.

    Raises IndexError or ValueError for data that is not a protocol buffer.
    """
    while begin < end:
        tag, begin = _varint(data, begin)
        number, kind = tag >> 3, tag & 7
        if kind in _FIXED:
            begin += _FIXED[kind]
        elif kind == _VARINT:
            value, begin = _varint(data, begin)
            yield number, value, None
        elif kind == _BYTES:
            length, begin = _varint(data, begin)
            yield number, length, begin
            begin += length
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        byte = data[place + shift]
        value |= (byte & 0x7F) << 7 * shift
        if not byte & 0x80:
            return value, place + shift + 1
    raise ValueError("a varint of more than 10 bytes")
