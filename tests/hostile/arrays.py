"""Files of arrays: .safetensors with an --arch, .npz of example inputs."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Case, Write, data
from tests.hostile.pickles import TOUCH, Calls

SAFE = ("{file}", "--arch", "digits", "-o", "out", "--dry-run")
FEED = ("{here}/tiny.onnx", "--inputs", "{file}", "-o", "out")


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, content in _safetensors().items():
        yield Case(f"{name}.safetensors", data(content), SAFE, (1, 2))
    for name, content in _headers().items():
        yield Case(f"array-{name}.npz", _npz({"x.npy": content}), FEED)
    pickled = io.BytesIO()
    np.save(pickled, np.array([Calls(os.system, TOUCH)], dtype=object), allow_pickle=True)
    honest = _npy("<f4", (1, 1, 8, 8), bytes(256))
    members: dict[str, dict[str, bytes]] = {
        "pickled": {"x.npy": pickled.getvalue()},
        "raw-pickle": {"x.npy": pickle.dumps(Calls(os.system, TOUCH))},
        "other-name": {"z.npy": honest},
        "no-array": {"x": b"hello"},
        "nothing": {},
        "up": {"../x.npy": honest},
        "absolute": {"/x.npy": honest},
        "twice": {"x.npy": honest, "X.npy": honest},
        "escape": {"\x1b[2J.npy": honest},
        "nan": {"x.npy": _npy("<f4", (1, 1, 8, 8), np.full(64, np.nan, "<f4").tobytes())},
        "infinite": {"x.npy": _npy("<f4", (1, 1, 8, 8), np.full(64, np.inf, "<f4").tobytes())},
        "empty": {"x.npy": _npy("<f4", (0, 1, 8, 8), b"")},
        "rank": {"x.npy": _npy("<f4", (1, 8), bytes(32))},
        "type": {"x.npy": _npy("<i8", (1, 1, 8, 8), bytes(512))},
    }
    for name, entries in members.items():
        yield Case(f"{name}.npz", _npz(entries), FEED, (1, 2))
    yield Case("pickle.npz", data(pickle.dumps(Calls(os.system, TOUCH))), FEED)
    yield Case("garbage.npz", data(b"\xff" * 100), FEED)
    yield Case("folder.npz", lambda path: path.mkdir(), FEED)
    yield Case(
        "bomb.npz", _npz({"x.npy": _npy("<f4", (1, 1, 4096, 4096), bytes(1 << 26))}, zipfile.ZIP_DEFLATED), FEED, (1, 2)
    )


def _safetensors() -> dict[str, bytes]:
    entry: dict[str, Any] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers: dict[str, Any] = {
        "beyond": {"a": {**entry, "data_offsets": [0, 1 << 40]}},
        "backwards": {"a": {**entry, "data_offsets": [4, 0]}},
        "overlap": {"a": entry, "b": entry},
        "hole": {"a": {**entry, "data_offsets": [2, 6]}},
        "shape": {"a": {**entry, "shape": [1 << 40]}},
        "overflow": {"a": {**entry, "shape": [1 << 33, 1 << 33]}},
        "negative": {"a": {**entry, "shape": [-1]}},
        "type": {"a": {**entry, "dtype": "EVIL"}},
        "list": [],
        "null": {"a": None},
        "metadata": {"__metadata__": {"a": 1}, "a": entry},
        "strange": {"\x1b[2J": entry},
        "honest-other": {"a": entry},
        "empty": {},
    }
    found = {name: _safe(json.dumps(header).encode()) for name, header in headers.items()}
    found["deep"] = _safe(b"[" * 100_000 + b"]" * 100_000)
    found["twice"] = _safe(b'{"a":' + json.dumps(entry).encode() + b',"a":' + json.dumps(entry).encode() + b"}")
    found["no-json"] = _safe(b"hello")
    found["no-text"] = _safe(b"\xff\xfe")
    found["huge-header"] = struct.pack("<Q", 1 << 62) + b"{}"
    found["long-header"] = struct.pack("<Q", 100) + b"{}"
    found["short"] = b"\0" * 7
    found["nan"] = _safe(json.dumps({"a": entry}).encode(), struct.pack("<f", float("nan")))
    return found


def _safe(header: bytes, content: bytes = bytes(4)) -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def _headers() -> dict[str, bytes]:
    """.npy files with false headers."""
    texts = {
        "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
        "overflow": "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
        "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "object": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "code": "{'descr': __import__('os').system('touch canary'), 'fortran_order': False, 'shape': ()}",
        "deep": "(" * 5000 + ")" * 5000,
        "record": "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,)}",
        "text": "{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}",
        "void": "{'descr': '|V1073741824', 'fortran_order': False, 'shape': (1,)}",
        "time": "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}",
        "no-shape": "{'descr': '<f4', 'fortran_order': False}",
        "none": "None",
    }
    found = {name: _npy_header(text) + bytes(64) for name, text in texts.items()}
    found["long"] = _npy_header("{" + " " * (1 << 20) + "}")
    found["version"] = b"\x93NUMPY\x09\x00" + bytes(10)
    found["short"] = b"\x93NUM"
    return found


def _npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()


def _npy(kind: str, shape: tuple[int, ...], content: bytes) -> bytes:
    return _npy_header(repr({"descr": kind, "fortran_order": False, "shape": shape})) + content


def _npz(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    return write
