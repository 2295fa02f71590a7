"""A package made without ONNX or PyTorch: y = conv(x, 3x3 ones), of any batch, height and width in its range.

The model's few hundred bytes are written field by field, as protobuf has them, so that these tests run where only
an engine is installed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.engines.proving import engine_version, make_proof
from rectexport.runtime.package.folder import Package

RANGE = {"min": [1, 1, 8, 8], "opt": [2, 1, 8, 8], "max": [4, 1, 16, 16]}
SHAPE: list[Any] = ["batch", 1, "height", "width"]


def dynamic_package(folder: Path, **more: Any) -> Package:
    """Write it, with `more` in its manifest, and open it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model())
    x = np.ones((2, 1, 8, 8), np.float32)
    near = np.convolve(np.ones(8), np.ones(3), "same")
    y = np.broadcast_to(np.outer(near, near), x.shape).astype(np.float32)
    np.savez(folder / "goldens.npz", **{"input.x": x, "output.y": y})
    (folder / "parity.json").write_text("{}")
    (folder / "export.log").write_text("")
    tensor = {"dtype": "float32", "shape": SHAPE}
    document = {
        "format": "rectexport-package",
        "version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": {},
        "source": {"kind": "onnx.ModelProto", "description": "by hand"},
        "options": {"opset": 18, "rectify": "auto", "target": "onnxruntime", "precision": "fp32", "guard": True},
        "inputs": [{"name": "x", **tensor, "range": RANGE}],
        "outputs": [{"name": "y", **tensor}],
        "opset": {"ai.onnx": 18},
        "passes": [],
        "tolerances": {"relative_l2": 1e-5},
        "versions": {"rectexport": "0"},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()},
        **more,
    }
    (folder / "manifest.json").write_text(json.dumps(document))
    return Package.open(folder)


def disprove(package: Path, engine: str = "onnxruntime") -> None:
    """Write into the manifest that an engine, as it is here, differs from the source model."""
    proof = make_proof(engine, engine_version(engine), "float32", 1, None, "output y is off")
    path = package / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "proofs": [proof.as_dict()]}))


def model() -> bytes:
    """ModelProto: IR version 8, the graph, opset 18."""
    weight = _text(8, "w") + _ints(1, 1, 1, 3, 3) + _number(2, 1) + _field(9, np.ones(9, np.float32).tobytes())
    pads = _text(1, "pads") + _ints(8, 1, 1, 1, 1) + _number(20, 7)
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(4, "Conv") + _text(3, "conv") + _field(5, pads)
    graph = _field(1, node) + _text(2, "tiny") + _field(5, weight) + _field(11, _value("x")) + _field(12, _value("y"))
    return _number(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _number(2, 18))


def _value(name: str) -> bytes:
    """ValueInfoProto: float32 of SHAPE."""
    sizes = b"".join(_field(1, _number(1, s) if isinstance(s, int) else _text(2, s)) for s in SHAPE)
    return _text(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, sizes)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _ints(number: int, *values: int) -> bytes:
    return b"".join(_number(number, value) for value in values)


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
