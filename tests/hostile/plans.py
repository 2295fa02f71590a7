"""Packages with TensorRT plans and plugin libraries, which contain code: those with a wrong hash must not be loaded.

The machine has a fake TensorRT (tests/warm/machine.py). When it loads a plan that contains the word canary, it writes a
file of that name; every changed plan here contains it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import Case, Write
from tests.hostile.packages import Document
from tests.warm.machine import CANARY

PLAN = "model.nvidia-h100-80gb-hbm3.sm90.trt10.13.3.plan"
LOAD = ("load", "{file}", "tensorrt")
LOAD_ANY = ("load", "{file}")
VERIFY = ("verify", "{file}", "--backend", "tensorrt")
VERIFY_ANY = ("verify", "{file}")
BUILD = ("build", "{file}", "--trt")
REPORT = ("report", "{file}", "-o", "out")
#: Exit codes of commands that ignore plans or repair them.
ANY = (0, 1)
WRONG: tuple[Any, ...] = (None, 5, -1, 1e400, "", "x", "\x1b[2J", "9" * 5000, [], [5], [{}], {}, {"a": 1}, True)
Spoil = Callable[[Path], object]


def cases(package: Path) -> Iterator[Case]:
    """All cases; `package` holds a valid plan for the fake machine."""
    for name, spoil in _files().items():
        yield from _every(f"plan-{name}", copied(package, spoil))
    for name, change in _listings().items():
        yield from _every(f"plans-{name}", _changed(package, change))
    fields = json.loads((package / "manifest.json").read_text())["plans"][0]
    for field in fields:
        for index, value in enumerate(WRONG):
            if not (value is None and field == "parity"):
                yield from _entry(package, f"{field}-{index}", _set(field, value), index)
        yield from _entry(package, f"{field}-gone", lambda entry, field=field: entry.pop(field), 0)
    for field in fields["options"]:
        for index, value in enumerate(WRONG):
            if not isinstance(value, bool):
                yield from _entry(package, f"option-{field}-{index}", _set_option(field, value), index)
    for name, spoil in _libraries().items():
        yield from _every(f"library-{name}", copied(package, spoil), any_backend=(1,))


def _every(name: str, write: Write, any_backend: tuple[int, ...] = ANY, build: tuple[int, ...] = ANY) -> Iterator[Case]:
    """A case for every command that opens a package."""
    for words, codes in {
        LOAD: (1,),
        VERIFY: (1,),
        LOAD_ANY: any_backend,
        VERIFY_ANY: any_backend,
        BUILD: ANY,
        REPORT: any_backend,
    }.items():
        yield Case(f"{name}-{words[0]}-{len(words)}", write, words, codes, tensorrt=True)


def _entry(package: Path, name: str, change: Callable[[Document], object], index: int) -> Iterator[Case]:
    """A wrong value in a plan's entry, each with one of the commands."""
    write = _changed(package, lambda document: change(document["plans"][0]))
    words, codes = ((LOAD, (1,)), (VERIFY, (1,)), (BUILD, (1,)), (REPORT, ANY), (LOAD_ANY, ANY))[index % 5]
    yield Case(f"entry-{name}", write, words, ANY if _harmless(name) else codes, tensorrt=True)


def _harmless(name: str) -> bool:
    """Fields that decide nothing: any text is accepted."""
    field = name.rpartition("-")[0]
    return field in ("gpu", "created", "trtexec", "layers", "seconds", "sha256", "model", "convolutions", "parity")


def _set(field: str, value: Any) -> Callable[[Document], object]:
    return lambda entry: entry.update({field: value})


def _set_option(field: str, value: Any) -> Callable[[Document], object]:
    return lambda entry: entry["options"].update({field: value})


def _files() -> dict[str, Spoil]:
    """Changed plans, which no longer match the manifest."""

    def replaced(make: Spoil) -> Spoil:
        def spoil(folder: Path) -> None:
            (folder / PLAN).unlink()
            make(folder / PLAN)

        return spoil

    def written(content: Callable[[bytes], bytes]) -> Spoil:
        return lambda folder: (folder / PLAN).write_bytes(content((folder / PLAN).read_bytes()))

    def linked(path: Path) -> None:
        outside = path.parent.parent / "outside.plan"
        outside.write_bytes(CANARY)
        path.symlink_to(outside)

    return {
        "empty": written(lambda data: b""),
        "garbage": written(lambda data: CANARY * 1000),
        "longer": written(lambda data: data + CANARY),
        "huge": replaced(lambda path: _sparse(path, 1 << 30)),
        "link": replaced(linked),
        "device": replaced(lambda path: path.symlink_to("/dev/zero")),
        "pipe": replaced(os.mkfifo),
        "folder": replaced(Path.mkdir),
        "gone": replaced(lambda path: None),
        **{f"cut-{part}": written(lambda data, part=part: data[: len(data) * part // 8] + CANARY) for part in range(8)},
        **{f"bits-{at}": written(lambda data, at=at: _flipped(data, at)) for at in range(8)},
    }


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


def _flipped(data: bytes, seed: int) -> bytes:
    changed = bytearray(data)
    changed[random.Random(seed).randrange(len(data))] ^= 1
    return bytes(changed) + CANARY


def _listings() -> dict[str, Callable[[Document], object]]:
    """Manifests whose plans are not a valid list of this package's plans."""

    def named(name: str) -> Callable[[Document], object]:
        return lambda document: document["plans"][0].update(file=name)

    def hashed(document: Document) -> None:
        document["files"][PLAN] = document["plans"][0]["sha256"] = "0" * 64

    names = {
        "up": f"../{PLAN}",
        "absolute": "/etc/passwd",
        "device": "/dev/zero",
        "nothing": "",
        "here": ".",
        "above": "..",
        "escape": "\x1b[2J.plan",
        "turned": "\u202enalp.plan",
        "newline": "a\nb.plan",
        "long": "x" * 100_000 + ".plan",
        "missing": "other.plan",
        "model": "model.onnx",
        "manifest": "manifest.json",
        "nul": "a\0b.plan",
    }
    return {
        **{f"file-{name}": named(text) for name, text in names.items()},
        **{f"value-{index}": _set("plans", value) for index, value in enumerate(WRONG) if value != []},
        "deep": lambda document: document.update(plans=[[[[[[]]]]] * 1000] * 100),
        "many": lambda document: document.update(plans=[{}] * 100_000),
        "hash-of-file": lambda document: document["files"].update({PLAN: "0" * 64}),
        "hash-of-entry": lambda document: document["plans"][0].update(sha256="0" * 64),
        "hash-of-both": hashed,
        "unlisted": lambda document: document["files"].pop(PLAN),
        "gpu-escape": lambda document: document["plans"][0].update(gpu="\x1b[2J"),
        "library-escape": _plugin("\x1b[2J.so"),
        "library-up": _plugin("../plugin.so"),
    }


def _plugin(name: str) -> Callable[[Document], object]:
    entry = {"file": name, "sha256": "0" * 64}
    return lambda document: document["plans"][0].update(plugins=[entry])


def _libraries() -> dict[str, Spoil]:
    """A plugin library in the package that does not match the manifest."""

    def listed(folder: Path, digest: str) -> None:
        (folder / "plugin.so").write_bytes(b"\x7fELF" + CANARY)
        _edit(folder, lambda document: document["files"].update({"plugin.so": digest}))

    def linked(folder: Path) -> None:
        (folder / "plugin.so").symlink_to("/bin/true")

    return {
        "hash": lambda folder: listed(folder, "0" * 64),
        "unlisted": lambda folder: (folder / "plugin.so").write_bytes(b"\x7fELF"),
        "link": linked,
        "missing": lambda folder: _edit(folder, lambda document: document["files"].update({"plugin.so": "0" * 64})),
    }


def _edit(folder: Path, change: Callable[[Document], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _changed(package: Path, change: Callable[[Document], object]) -> Write:
    return copied(package, lambda folder: _edit(folder, change))


def copied(package: Path, spoil: Spoil) -> Write:
    def write(path: Path) -> None:
        shutil.copytree(package, path)
        spoil(path)

    return write
