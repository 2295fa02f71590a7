"""Refuse a TorchScript file that could reach outside the process when it is loaded or run.

TorchScript cannot call Python, but it can still do harm: torch.save and torch.from_file access files, a class may
run code when it is loaded, and torch.classes are native code. The archive contains the source code in Python's
syntax; the file is refused unless every call in it is to an ordinary operator.
"""

from __future__ import annotations

import ast
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rectexport.exporter.frontend.untrusted_archive import refuse_dangers

MAX_CODE_BYTES = 64 << 20
#: Operators of `torch` that reach outside the process.
_FORBIDDEN = {"save", "load", "from_file", "ops", "classes", "jit", "rpc", "distributed"}
_NAMESPACES = {"aten", "prim", "rectexport", "torchvision"}
_ROOTS = {"torch", "ops"}


def check_torchscript_archive(path: Path) -> None:
    """Raise BadInput, saying what was found, if loading or running the archive could reach outside the process."""
    refuse_dangers(path, _dangers, "TorchScript", "reach outside the process")


def _dangers(archive: zipfile.ZipFile) -> Iterator[str]:
    size = 0
    for info in archive.infolist():
        short = info.filename.partition("/")[2]
        if short.endswith(".pkl"):
            yield from _native_classes(short, archive.read(info))
        elif short.startswith("code/") and short.endswith(".py"):
            size += info.file_size
            if size > MAX_CODE_BYTES:
                yield f"more than {MAX_CODE_BYTES >> 20} MiB of code"
                return
            for danger in _calls(ast.parse(archive.read(info))):
                yield f"{short} has {danger}"


def _native_classes(name: str, pickle: bytes) -> Iterator[str]:
    for _, value, _ in pickletools.genops(pickle):
        if isinstance(value, str) and "torch.classes" in value:
            yield f"{name} has an object of {value[:100]!r}"


def _calls(tree: ast.AST) -> Iterator[str]:
    """Everything that is not an ordinary operator; `torch` or `ops` bound to another name could become anything."""
    whole = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in ("__setstate__", "__getstate__"):
            yield f"a method {node.name}, which runs when it is loaded"
        elif isinstance(node, ast.Name) and node.id in _ROOTS and id(node) not in whole:
            yield f"{node.id} under another name"
        elif isinstance(node, ast.Attribute) and id(node) not in whole:
            yield from _operator(ast.unparse(node))


def _operator(spelled: str) -> Iterator[str]:
    root, *names = spelled.split(".")
    if (root == "torch" and _FORBIDDEN.intersection(names)) or "classes" in names[:2]:
        yield f"{spelled[:100]}"
    elif root == "ops" and (len(names) < 2 or names[0] not in _NAMESPACES or _FORBIDDEN.intersection(names)):
        yield f"{spelled[:100]}, an operator that is not torch's own"
