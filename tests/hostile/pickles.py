"""Pickles that run code, that refer to more memory than they have, or that explode when printed."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.hostile.case import PLAN, Case, Write, data
from tests.places import DIGITS

TOUCH = "touch canary"
RUNS = ("runs code when loaded", "--trust-pickle")


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _calls()
    yield from _places()
    yield from _opcodes()
    yield from _tensors()
    yield from _checkpoints()


def _calls() -> Iterator[Case]:
    for protocol in range(6):
        yield Case(f"system-{protocol}.pt", data(pickle.dumps(Calls(os.system, TOUCH), protocol)), says=RUNS)
    source = f"__import__('os').system({TOUCH!r})"
    for module, function, *arguments in (
        ("builtins", "eval", source),
        ("builtins", "exec", source),
        ("builtins", "__import__", "canary"),
        ("builtins", "getattr", "a", "b"),
        ("builtins", "open", "canary", "w"),
        ("importlib", "import_module", "canary"),
        ("operator", "methodcaller", "system", TOUCH),
        ("os", "execvp", "touch", ["touch", "canary"]),
        ("pathlib", "Path.touch", "canary"),
        ("posix", "system", TOUCH),
        ("pty", "spawn", ["touch", "canary"]),
        ("runpy", "run_path", "canary.py"),
        ("shutil", "rmtree", "."),
        ("subprocess", "check_call", ["touch", "canary"]),
        ("timeit", "timeit", source),
        ("torch", "load", "canary"),
        ("torch", "save", 1, "canary"),
        ("torch.hub", "load", "a", "b"),
        ("torch.jit", "load", "canary"),
        ("torch.serialization", "add_safe_globals", [1]),
        ("torch.serialization.os", "system", TOUCH),
        ("torch.storage", "_load_from_bytes", pickle.dumps(Calls(os.system, TOUCH))),
        ("torch.utils.cpp_extension", "load_inline", "x", "int f();"),
        ("torch._dynamo.guards", "eval", source),
        ("numpy", "load", "canary"),
        ("numpy.testing._private.utils", "runstring", source, {}),
        ("rectexport.models.registry", "create_model", "digits"),
        ("rectexport.exporter.frontend.load", "_unpickle", "canary"),
    ):
        yield Case(f"{module}.{function}.pt", data(_call(module, function, *arguments)), says=RUNS)


def _call(module: str, function: str, *arguments: Any) -> bytes:
    """A pickle, protocol 4, that calls module.function(*arguments)."""
    parts = [pickle.dumps(part, 4)[2:-1] for part in (module, function)]  # less the header and STOP
    body = b"".join(parts) + b"\x93" + pickle.dumps(arguments, 4)[2:-1] + b"R."
    assert sum(op.name == "STACK_GLOBAL" for op, *_ in pickletools.genops(b"\x80\x04" + body)) == 1
    return b"\x80\x04" + body


def _places() -> Iterator[Case]:
    """The same call, hidden in other structures."""
    evil = Calls(os.system, TOUCH)
    hidden = {
        "value": {"a": torch.zeros(2), "b": evil},
        "key": {evil: torch.zeros(2)},
        "list": [[[[evil]]]],
        "ordered": OrderedDict(a=torch.zeros(2), b=evil),
        "checkpoint": {"format": "rectexport-checkpoint", "version": 1, "arguments": evil},
        "hooks": Calls(torch._utils._rebuild_tensor_v2, torch.UntypedStorage(4), 0, (1,), (1,), False, evil),
        "parameter": Calls(torch._utils._rebuild_parameter_with_state, torch.zeros(1), False, OrderedDict(), evil),
        "type": Calls(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (TOUCH,), {}),
        "set": Calls(set, [evil]),
    }
    for name, value in hidden.items():
        yield Case(f"hidden-{name}.pt", _saved(value), says=("trust-pickle",))
        yield Case(f"hidden-{name}-old.pt", _saved(value, _use_new_zipfile_serialization=False))
    yield Case("module.pt", _saved(torch.nn.Linear(2, 2)), says=RUNS)
    yield Case("tar.pt", _tar(pickle.dumps(evil, 2)))
    yield Case("system.safetensors", data(pickle.dumps(evil)))
    yield Case("system.onnx", data(pickle.dumps(evil)))


def _saved(value: Any, **options: Any) -> Write:
    return lambda path: torch.save(value, path, **options)


def _tar(payload: bytes) -> Write:
    """torch's oldest format, whose members torch.load once unpickled even with weights_only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle", "sys_info"):
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return data(buffer.getvalue())


def _opcodes() -> Iterator[Case]:
    """Pickles that no pickler writes."""
    command = TOUCH.encode()
    raw = {
        "inst": b"(S'" + command + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + command + b"'\no.",
        "global": b"cos\nsystem\n(S'" + command + b"'\ntR.",
        "dotted": b"\x80\x02ctorch.os\nsystem\nU\x0c" + command + b"\x85R.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02ctorch\nload\nQ.",
        "build": b"\x80\x02ccollections\nOrderedDict\n)R}U\x08__dict__cos\nsystem\nsb.",
        "newobj": b"\x80\x02csubprocess\nPopen\nU\x05touch\x85\x81.",
        "reduce-type": b"\x80\x02cbuiltins\ntype\nU\x01xcbuiltins\nobject\n\x85}\x87R.",
        "memo": b"\x80\x02h\xff.",
        "underflow": b"\x80\x02R.",
        "no-stop": b"\x80\x02]",
        "huge-string": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.",
        "huge-bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
        "huge-long": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"a.",
        "huge-frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
        "deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "protocol-9": b"\x80\x09N.",
        "none": b"\x80\x02N.",
        "text": b"#!/bin/sh\ntouch canary\n",
        "empty": b"",
        "zeros": bytes(1 << 16),
    }
    for name, content in raw.items():
        yield Case(f"raw-{name}.pt", data(content))


def _tensors() -> Iterator[Case]:
    """Tensors with false sizes or types."""
    storage = torch.UntypedStorage(64)
    rebuild = torch._utils._rebuild_tensor_v2
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    shapes = {
        "beyond": (0, (1 << 20,), (1,)),
        "offset": (1 << 40, (1,), (1,)),
        "before": (-(1 << 20), (1,), (1,)),
        "stride": (0, (2, 2), (1 << 60, 1)),
        "negative-stride": (8, (4,), (-1,)),
        "negative-size": (0, (-1,), (1,)),
        "overflow": (0, (1 << 62, 1 << 62), (0, 0)),
        "ranks": (0, (1, 1), (1,)),
        "words": (0, ("a",), (1,)),
    }
    for name, (offset, size, stride) in shapes.items():
        value = {"w": Calls(rebuild, typed, offset, size, stride, False, OrderedDict())}
        yield Case(f"tensor-{name}.pt", _saved(value), (*PLAN, "--arch", "digits"))
    expanded = {"expanded": torch.zeros(1).expand(1 << 40), "expanded-rows": torch.zeros(1, 64).expand(1 << 22, 64)}
    others = {
        "sparse": torch.sparse_coo_tensor(torch.zeros((1, 1), dtype=torch.int64), torch.zeros(1), (1 << 40,)),
        "meta": torch.empty(1 << 40, device="meta"),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "quantized": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        "scalar": torch.tensor(1.0),
    }
    for name, tensor in {**expanded, **others}.items():
        yield Case(f"tensor-{name}.pt", _saved({"classifier.weight": tensor}), (*PLAN, "--arch", "digits"))
    for name, key in {"number": 1, "tuple": ("a", "b")}.items():
        yield Case(f"key-{name}.pt", _saved({key: torch.zeros(1)}), (*PLAN, "--arch", "digits"))


def _checkpoints() -> Iterator[Case]:
    """Our own format, with one field wrong. A bomb is a list of lists of … whose repr is a terabyte long."""
    changes: dict[str, dict[str, Any]] = {
        "version-bomb": {"version": _bomb()},
        "arch-bomb": {"arch": _bomb()},
        "arch-path": {"arch": "../../etc/passwd"},
        "arch-escape": {"arch": "\x1b]0;owned\x07\x1b[2J"},
        "arch-long": {"arch": "x" * 1_000_000},
        "arguments-bomb": {"arguments": {"conv": _bomb()}},
        "arguments-deep": {"arguments": {"conv": _deep(100)}},
        "arguments-classes": {"arguments": {"num_classes": 1 << 40}},
        "arguments-classes-some": {"arguments": {"num_classes": 1 << 26}},
        "arguments-classes-beyond": {"arguments": {"num_classes": 1 << 100}},
        "arguments-classes-negative": {"arguments": {"num_classes": -1}},
        "arguments-classes-text": {"arguments": {"num_classes": "10"}},
        "arguments-unknown": {"arguments": {"__class__": 1}},
        "arguments-key": {"arguments": {1: 2}},
        "tolerance-bomb": {"tolerances": {"relative_l2": _bomb()}},
        "tolerance-nan": {"tolerances": {"relative_l2": float("nan")}},
        "tolerance-infinite": {"tolerances": {"relative_l2": float("inf")}},
        "tolerance-negative": {"tolerances": {"relative_l2": -1.0}},
        "tolerance-name": {"tolerances": {("a", "b"): _bomb()}},
        "example-expanded": {"example_input": torch.zeros(1, 1, 1, 1).expand(1 << 20, 1, 1 << 10, 1 << 10)},
        "example-nan": {"example_input": torch.full((1, 1, 8, 8), float("nan"))},
        "example-empty": {"example_input": torch.zeros(0, 1, 8, 8)},
        "example-rank": {"example_input": torch.zeros(1)},
        "state-empty": {"state_dict": {}},
        "state-nested": {"state_dict": {"state_dict": {"state_dict": {}}}},
    }
    for name, change in changes.items():
        yield Case(f"checkpoint-{name}.pt", _checkpoint(change), PLAN)
    for name, value in {"nan": float("nan"), "infinite": float("inf")}.items():
        yield Case(f"weights-{name}.pt", _filled(value), PLAN, says=("NaN or infinite",))
    yield Case("weights-denormal.pt", _filled(1e-42), PLAN, (0,))
    for arch, options in {
        "resnet50": {"blocks": [1 << 30] * 4},
        "vgg16": {"convs": [1 << 30] * 5},
        "resnet20": {"blocks": 1 << 40},
        "pvanet_crelu": {"width": 1e18},
        "digits": {"width": 1e6},
    }.items():
        yield Case(f"grown-{arch}.pt", _checkpoint({"arch": arch, "arguments": options}), PLAN)


def _bomb() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(40):
        value = [value, value]
    return value


def _deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _checkpoint(change: dict[str, Any]) -> Write:
    return lambda path: torch.save({**torch.load(DIGITS, weights_only=True), **change}, path)


def _filled(value: float) -> Write:
    """The digits network with this value as one of its weights."""

    def write(path: Path) -> None:
        checkpoint = torch.load(DIGITS, weights_only=True)
        weight = next(entry for entry in checkpoint["state_dict"].values() if entry.dim() == 4)
        weight.view(-1)[0] = value
        torch.save(checkpoint, path)

    return write
