"""Files that block, never end, or grow when they are unpacked, in every place where a command takes a file."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.hostile.arrays import _npy_header, _npz
from tests.hostile.case import Case, Write, data


def cases(package: Path) -> Iterator[Case]:
    """All of them; `package` is an honest one, of tiny.onnx."""
    for kind, make in endless().items():
        for place, (suffix, words) in _places(package).items():
            yield Case(f"{place}-{kind}{suffix}", make, words, says=(kind_of(kind),))
    for name, write in _inflated().items():
        yield Case(f"{name}.npz", write, ("{here}/tiny.onnx", "--inputs", "{file}", "-o", "out"))
        yield Case(f"parity-{name}.npz", write, ("parity", str(package), "--inputs", "{file}"))
    for name, write in _folders().items():
        yield Case(name, write, ("parity", str(package), "--inputs", "{file}"))
    many = (
        b"{" + b",".join(b'"k%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(200_000)) + b"}"
    )
    safe = ("{file}", "--arch", "digits", "-o", "out")
    yield Case("many-tensors.safetensors", data(struct.pack("<Q", len(many)) + many), safe)
    yield Case("blank-header.safetensors", data(struct.pack("<Q", 1 << 26) + b" " * (1 << 26)), safe)
    for place in ("../secret", "/etc/passwd", "/dev/zero", "pipe", "giant"):
        yield Case(f"function-weights-{place.replace('/', '-')}.onnx", _function_weights(place))


def endless() -> dict[str, Write]:
    """What blocks whoever reads it, or has no end."""
    return {
        "pipe": os.mkfifo,
        "socket": bound_socket,
        "zeros": lambda path: path.symlink_to("/dev/zero"),
        "giant": giant,
    }


def kind_of(kind: str) -> str:
    """The part of the message that names one of `endless`; a giant may be refused by its size or its holes."""
    return {"pipe": "is a pipe", "socket": "is a socket", "zeros": "is a device", "giant": ""}[kind]


def giant(path: Path) -> None:
    """A sparse file of a terabyte."""
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def bound_socket(path: Path) -> None:
    """A socket in the file system."""
    with socket.socket(socket.AF_UNIX) as end:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            end.bind(path.name)
        finally:
            os.chdir(here)


def _places(package: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """A file's suffix and the command that takes it, by the place where it stands."""
    where = str(package)
    return {
        "model": (".pt", ("{file}", "-o", "out")),
        "inputs": (".npz", ("{here}/tiny.onnx", "--inputs", "{file}", "-o", "out")),
        "parity-inputs": (".npz", ("parity", where, "--inputs", "{file}")),
        "parity-array": (".npy", ("parity", where, "--inputs", "{file}")),
        "eval-data": (".npz", ("eval", where, "--data", "{file}")),
        "calibrate": (".npz", ("{here}/tiny.onnx", "--int8", "--calibrate", "{file}", "-o", "out")),
        "sign": (".key", ("sign", where, "--key", "{file}")),
        "verify": (".pub", ("verify", where, "--key", "{file}")),
        "token": (".txt", ("serve", where, "--token-file", "{file}", "--port", "0", "--grpc-port", "0")),
        "latency": (".json", ("report", where, "--latency", "{file}", "-o", "out.html")),
        "evaluation": (".json", ("report", where, "--eval", "{file}", "-o", "out.html")),
    }


def _inflated() -> dict[str, Write]:
    """Archives of 64 KiB that hold 64 MiB, with headers that say so or do not."""
    rows = (1 << 26) // 256
    body = bytes(1 << 26)

    def header(shape: tuple[int, ...]) -> bytes:
        return _npy_header(repr({"descr": "<f4", "fortran_order": False, "shape": shape}))

    return {
        "inflated": _npz({"x.npy": header((rows, 2, 8, 8)) + body}, 8),
        "inflated-rank": _npz({"x.npy": header((1 << 24,)) + body}, 8),
        "inflated-behind": _npz({"x.npy": header((1, 1, 8, 8)) + body}, 8),
    }


def _folders() -> dict[str, Write]:
    """Folders with one image: none of 8x8 pixels, or none that can be read."""

    def holding(name: str, write: Write) -> Write:
        def make(folder: Path) -> None:
            folder.mkdir()
            write(folder / name)

        return make

    images = {f"images-{kind}": holding("a.png", make) for kind, make in endless().items()}
    images["images-huge"] = holding("a.png", data(_png(13_000, 13_000)))
    images["images-wide"] = holding("a.png", data(_png(1 << 20, 1)))
    images["images-claims"] = holding("a.png", data(_png(1 << 30, 1 << 30, rows=1)))
    images["images-postscript"] = holding("a.png", data(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"))
    return images


def _png(width: int, height: int, rows: int | None = None) -> bytes:
    """A grey PNG; with `rows`, only so many of them, of one pixel."""
    packer = zlib.compressobj(9)
    line = bytes(1 + width if rows is None else 2)
    packed = b"".join(packer.compress(line) for _ in range(height if rows is None else rows)) + packer.flush()

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", packed) + part(b"IEND", b"")


def _function_weights(location: str) -> Write:
    """y = F(x), and F adds a constant that is stored in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", "32")):
        weights.external_data.add(key=key, value=value)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    nodes = [helper.make_node("Constant", [], ["w"], value=weights), helper.make_node("Add", ["a", "w"], ["b"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="f")], "g", infos[:1], infos[1:])
    function = helper.make_function("f", "F", ["a"], ["b"], nodes, opsets[:1])
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10)

    def write(path: Path) -> None:
        onnx.save(model, path)
        if location in endless():
            endless()[location](path.parent / location)

    return write
