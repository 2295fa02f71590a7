"""Zip archives that are ambiguous, that explode, or whose entries run code: .pt, .pt2, TorchScript."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.hostile.case import EXPORT, PLAN, Case, Write, data
from tests.hostile.pickles import DIGITS, TOUCH, Calls

Entries = dict[str, bytes]
TRUSTED = ("--trust-pickle",)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _names()
    yield from _layouts()
    yield from _programs()
    yield from _scripts()


def _names() -> Iterator[Case]:
    names = {
        "up": "../../canary",
        "inside": "archive/../../canary",
        "absolute": "/tmp/canary",
        "backslash": "..\\canary",
        "drive": "C:\\canary",
        "nul": "archive/data.pkl\0canary",
        "twice": "DIGITS/DATA.PKL",
    }
    for kind, source in (("pt", DIGITS.read_bytes), ("pt2", _program), ("torchscript.pt", _script)):
        for name, entry in names.items():
            content = _read(source())
            top = next(iter(content)).partition("/")[0]
            extra = f"{top}/{next(iter(content)).partition('/')[2].upper()}" if name == "twice" else entry
            yield Case(f"entry-{name}.{kind}", _zipped({**content, extra: b"x"}), says=("unsafe archive",))


def _layouts() -> Iterator[Case]:
    whole = DIGITS.read_bytes()
    evil = io.BytesIO()
    torch.save({"a": Calls(__import__("os").system, TOUCH)}, evil)
    yield Case("prefix.pt", data(b"#!/bin/sh\n" + whole))
    yield Case("two.pt", data(whole + evil.getvalue()))
    yield Case("two-swapped.pt", data(evil.getvalue() + whole))
    yield Case("comment.pt", data(whole[:-2] + struct.pack("<H", 22) + whole[-22:]))
    yield Case("no-directory.pt", data(whole[: len(whole) // 2]))
    yield Case("directory-only.pt", data(whole[-22:]))
    yield Case("empty.zip.pt", data(b"PK\5\6" + bytes(18)))
    yield Case("strange.pt", _zipped({"hello": b"world"}))
    yield Case(
        "bomb-overlapping.pt", data(_overlapping(1 << 20, 2000)), says=("the most that a file of this size may",)
    )
    yield Case("bomb-lie.pt", data(_lying(DIGITS.read_bytes())), says=("unsafe archive",))
    yield Case("many.pt", data(_overlapping(1, 65_000)))
    deflated = _read(whole) | {"archive/data/zeros": bytes(64 << 20)}
    yield Case("deflated.pt", _zipped(deflated, zipfile.ZIP_DEFLATED), PLAN, (0, 1))


def _overlapping(size: int, count: int) -> bytes:
    """One entry's bytes and `count` entries that point at them: any growth without compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", bytes(size))
        first = archive.infolist()[0]
        for index in range(count - 1):
            entry = zipfile.ZipInfo(f"a/{index}")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size, entry.compress_size, entry.create_system = size, size, first.create_system
            archive.filelist.append(entry)
    return buffer.getvalue()


def _lying(whole: bytes) -> bytes:
    """An archive whose last entry declares four gigabytes."""
    at = whole.rindex(b"PK\1\2")
    return whole[: at + 24] + struct.pack("<I", 0xFFFFFFF0) + whole[at + 28 :]


def _programs() -> Iterator[Case]:
    touch = pickle.dumps(Calls(Path.touch, Path("canary")))
    saved = io.BytesIO()
    torch.save(Calls(Path.touch, Path("canary")), saved)
    model = "models/model.json"
    edits: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "weight": ("data/weights/model_weights_config.json", lambda text: text.replace(b"false", b"true")),
        "inputs": ("data/sample_inputs/model.pt", lambda _: saved.getvalue()),
        "constant": ("data/constants/model_constants_config.json", lambda _: _constant("custom_obj_0")),
        "opaque": ("data/constants/model_constants_config.json", lambda _: _constant("opaque_obj_0")),
        "constants": ("data/constants/other.pt", lambda _: touch),
        "library": ("data/aotinductor/model/x.so", lambda _: b"\x7fELF"),
        "old": ("archive_version", lambda _: b""),
        "deep": (model, lambda _: b"[" * 100_000 + b"]" * 100_000),
        "no-json": (model, lambda _: b"\xff"),
        "null": (model, lambda _: b"null"),
        "number": (model, lambda _: b"1" * 10_000),
    }
    for target in (
        *(
            "torch.os.system",
            "torch.ops.load_library",
            "torch.ops.aten.from_file.default",
            "torch.ops.aten.save.default",
        ),
        *("torch.ops.aten.__class__", "torch.ops.profiler._record_function_enter", "torch.hub.load", "os.system"),
        *("_operator.methodcaller", "_operator.call", "builtins.eval", "math.__loader__", "#aten:conv2d"),
        *("torch.ops.aten.nothing.default", "torch.ops.higher_order.__getattr__", "torch.ops.c10d.barrier.default"),
    ):
        edits[f"calls {target}".replace(" ", "-")] = (
            model,
            _replacing(b"torch.ops.aten.conv2d.default", target.encode()),
        )
    for name, size in {"zero": 0, "negative": -1, "huge": 1 << 40, "beyond": 1 << 70}.items():
        edits[f"size-{name}"] = (model, _replacing(b'{"as_int": 8}', json.dumps({"as_int": size}).encode()))
    for name, (entry, edit) in edits.items():
        yield Case(f"{name}.pt2", _edited(_program, entry, edit))


def _constant(name: str) -> bytes:
    entry = {"path_name": name, "is_param": False, "use_pickle": False, "tensor_meta": None}
    return json.dumps({"config": {"thing": entry}}).encode()


def _replacing(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(text: bytes) -> bytes:
        assert old in text, old
        return text.replace(old, new)

    return edit


class Plain(nn.Module):
    """A harmless module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


class Saves(Plain):
    """A module that writes a file whenever it runs."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "canary")
        return self.conv(x)


def _scripts() -> Iterator[Case]:
    shape = ("--input", "x:1x1x8x8")
    yield Case(
        "saves.torchscript.pt", lambda path: torch.jit.script(Saves()).save(str(path)), (*EXPORT, *shape), says=TRUSTED
    )
    code = "code/__torch__/tests/hostile/archives.py"
    returned = b"    return torch.relu("
    lines = {
        "alias": 't = torch\n    _ = t.save(x, "canary")',
        "getattr": '_ = getattr(torch, "save")(x, "canary")',
        "ops": '_ = ops.aten.save(x, "canary")',
        "namespace": "o = ops.aten\n    _ = o.from_file",
        "file": '_ = torch.from_file("canary", True, 10)',
        "other": "_ = ops.c10d.barrier(x)",
        "class": "_ = __torch__.torch.classes.nnapi.Compilation()",
        "deep": "_ = " + "(" * 10_000 + "x" + ")" * 10_000,
        "syntax": "_ = $",
        "undefined": "_ = nothing(x)",
    }
    for name, line in lines.items():
        edit = _replacing(returned, f"    {line}\n".encode() + returned)
        yield Case(f"{name}.torchscript.pt", _edited(_script, code, edit), (*EXPORT, *shape))
    method = b"class Plain(Module):\n  def __setstate__(self, x: int) -> NoneType:\n    return None\n"
    setstate = _replacing(b"class Plain(Module):\n", method)
    yield Case("setstate.torchscript.pt", _edited(_script, code, setstate), (*EXPORT, *shape))
    native = pickle.dumps(Calls(eval, "1"), 2).replace(b"__builtin__\neval", b"__torch__.torch.classes.a\nB")
    yield Case("native.torchscript.pt", _edited(_script, "data.pkl", lambda _: native), (*EXPORT, *shape))
    yield Case("constants.torchscript.pt", _edited(_script, "constants.pkl", lambda _: native), (*EXPORT, *shape))


@cache
def _program() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Plain().eval(), (torch.zeros(1, 1, 8, 8),)), buffer)
    return buffer.getvalue()


@cache
def _script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Plain().eval()), buffer)
    return buffer.getvalue()


def honest(folder: Path) -> dict[str, Path]:
    """A program and a script to damage."""
    paths = {"pt2": folder / "honest.pt2", "torchscript": folder / "honest.torchscript.pt"}
    paths["pt2"].write_bytes(_program())
    paths["torchscript"].write_bytes(_script())
    return paths


def _read(content: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _edited(source: Callable[[], bytes], entry: str, edit: Callable[[bytes], bytes]) -> Write:
    """The archive with one entry changed, added or removed."""

    def write(path: Path) -> None:
        entries = _read(source())
        name = f"{next(iter(entries)).partition('/')[0]}/{entry}"
        changed = edit(entries.get(name, b""))
        _zipped(
            {**{key: value for key, value in entries.items() if key != name}, **({name: changed} if changed else {})}
        )(path)

    return write


def _zipped(entries: Entries, compression: int = zipfile.ZIP_STORED) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in entries.items():
                info = zipfile.ZipInfo(name.replace("\0", "~"))
                info.filename, info.compress_type = name, compression
                archive.writestr(info, content)

    return write
