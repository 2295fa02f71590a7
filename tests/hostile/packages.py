"""Package folders that rectexport.load opens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.hostile import graphs
from tests.hostile.case import DOCTOR, LOAD, Case, Write
from tests.hostile.files import giant

Document = dict[str, Any]


def cases(package: Path) -> Iterator[Case]:
    """All cases; `package` is a valid one, made from tiny.onnx."""
    for name, change in _manifests().items():
        yield Case(f"manifest-{name}", _changed(package, change), LOAD)
    for name, text in _texts().items():
        yield Case(f"manifest-{name}", copied(package, _writes("manifest.json", text)), LOAD)
    for name, spoil in _folders().items():
        yield Case(f"folder-{name}", copied(package, spoil), LOAD)
    for name, model in _models().items():
        codes = (0, 1) if name == "weights-parity.json" else (1,)  # a file of the package, hashed as any other
        yield Case(f"model-{name}", copied(package, _with_model(model)), LOAD, codes)
    for name in ("format", "up", "hash", "missing"):
        yield Case(f"manifest-{name}", _changed(package, _manifests()[name]), DOCTOR)
    yield Case("folder-is-empty", lambda path: path.mkdir(), DOCTOR)
    yield Case("folder-is-a-file", lambda path: path.write_text("x") and None, LOAD)
    yield Case("folder-is-missing", lambda path: None, LOAD)
    yield Case("folder-is-empty", lambda path: path.mkdir(), LOAD)


def _manifests() -> dict[str, Callable[[Document], object]]:
    big = 1 << 70

    def tensor(**fields: Any) -> Callable[[Document], object]:
        return lambda document: document["inputs"][0].update(fields)

    return {
        "format": lambda document: document.update(format="webapp"),
        "version": lambda document: document.update(version=99),
        "version-list": lambda document: document.update(version=[[1] * 1000] * 1000),
        "no-files": lambda document: document.update(files={}),
        "no-model": lambda document: document["files"].pop("model.onnx"),
        "up": lambda document: document["files"].update({"../secret": "0" * 64}),
        "absolute": lambda document: document["files"].update({"/etc/passwd": "0" * 64}),
        "backslash": lambda document: document["files"].update({"..\\secret": "0" * 64}),
        "device": lambda document: document["files"].update({"/dev/zero": "0" * 64}),
        "itself": lambda document: document["files"].update({"manifest.json": "0" * 64}),
        "escape": lambda document: document["files"].update({"\x1b[2J": "0" * 64}),
        "missing": lambda document: document["files"].update({"nothing": "0" * 64}),
        "hash": lambda document: document["files"].update({"model.onnx": "0" * 64}),
        "hash-short": lambda document: document["files"].update({"model.onnx": "0"}),
        "hash-type": lambda document: document["files"].update({"model.onnx": 0}),
        "files-list": lambda document: document.update(files=["model.onnx"]),
        "inputs-none": lambda document: document.update(inputs=[]),
        "inputs-text": lambda document: document.update(inputs="x"),
        "inputs-deep": lambda document: document.update(inputs=[[[[]]]]),
        "name": tensor(name=7),
        "dtype": tensor(dtype="object"),
        "dtype-code": tensor(dtype="f4,O"),
        "shape-negative": tensor(shape=[-1]),
        "shape-bool": tensor(shape=[True]),
        "shape-text": tensor(shape="1x1"),
        "range-huge": tensor(range={"min": [big], "opt": [big], "max": [big]}),
        "range-order": tensor(range={"min": [1], "opt": [1], "max": ["x"]}),
        "range-list": tensor(range=[]),
        "tolerance": lambda document: document.update(tolerances={"relative_l2": -1}),
        "tolerance-huge": lambda document: document.update(tolerances={"relative_l2": 10**400}),
    }


def _texts() -> dict[str, str]:
    return {
        "empty": "",
        "no-json": "{",
        "null": "null",
        "deep": "[" * 200_000,
        "number": "1" * 100_000,
        "nan": '{"format": NaN}',
        "surrogate": '{"format": "\\ud800"}',
        "huge": " " * ((16 << 20) + 1),
        "long": json.dumps({"format": "x" * (8 << 20)}),
    }


def _folders() -> dict[str, Callable[[Path], object]]:
    def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
        def spoil(folder: Path) -> None:
            (folder / name).unlink()
            make(folder / name)

        return spoil

    def linked(path: Path) -> None:
        kept = path.parent.parent / f"{path.parent.name}-{path.name}"
        shutil.copy(path.parent / "goldens.npz", kept)
        path.symlink_to(kept)

    found: dict[str, Callable[[Path], object]] = {
        "cut": lambda folder: os.truncate(folder / "model.onnx", 100),
        "longer": lambda folder: _appended(folder / "model.onnx", b"\0"),
        "unlisted": lambda folder: (folder / "model.onnx.data").write_bytes(b"x"),
        "unlisted-folder": lambda folder: (folder / "inner").mkdir(),
        "unlisted-hidden": lambda folder: (folder / ".hidden").write_bytes(b"x"),
        "unlisted-library": lambda folder: (folder / "plugin.so").write_bytes(b"\x7fELF"),
    }
    for name in ("manifest.json", "model.onnx", "goldens.npz", "parity.json"):
        found[f"no-{name}"] = lambda folder, name=name: (folder / name).unlink()  # type: ignore[misc]
        found[f"link-{name}"] = replaced(name, lambda path: path.symlink_to("/etc/passwd"))
        found[f"folder-{name}"] = replaced(name, Path.mkdir)
        found[f"pipe-{name}"] = replaced(name, os.mkfifo)
        found[f"giant-{name}"] = replaced(name, giant)
        found[f"device-{name}"] = replaced(name, lambda path: path.symlink_to("/dev/zero"))
    found["link-model-copy"] = replaced("model.onnx", linked)
    return found


def _appended(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def _models() -> dict[str, bytes]:
    """Models with correct hashes: the attacker wrote the manifest too."""
    found = {"garbage": b"\xff" * 100, "nothing": b""}
    for place in ("../secret", "/etc/passwd", "/dev/zero", "link", "parity.json"):
        model = graphs._external(place, length=1 << 30 if place == "/dev/zero" else 32)
        found[f"weights-{place.replace('/', '-')}"] = model.SerializeToString()
    for name in ("cycle", "function-recursion", "huge-weight", "branches-500", "opset-huge"):
        model_or_bytes = graphs._table()[name][0]
        found[name] = model_or_bytes if isinstance(model_or_bytes, bytes) else model_or_bytes.SerializeToString()
    return found


def _with_model(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(content)
        (folder.parent / "secret").write_bytes(np.arange(8, dtype=np.float32).tobytes())
        document = json.loads((folder / "manifest.json").read_text())
        if b"link" in content:
            (folder / "link").symlink_to("../secret")
        document["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(document))

    return spoil


def _changed(package: Path, change: Callable[[Document], object]) -> Write:
    def spoil(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text())
        change(document)
        (folder / "manifest.json").write_text(json.dumps(document))

    return copied(package, spoil)


def _writes(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def copied(package: Path, spoil: Callable[[Path], object]) -> Write:
    def write(path: Path) -> None:
        shutil.copytree(package, path)
        spoil(path)

    return write


def tiny(path: Path, weight: float = 1.0) -> None:
    """A valid model of a few hundred bytes."""
    model = graphs._conv(weight)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
