"""Refuse a .pt2 file that could run code when torch.export.load reads it.

torch reads most of the archive as data, but not all: weights, constants and sample inputs may be pickles, an
AOTInductor folder holds libraries, and symbolic sizes are expressions that sympy evaluates. Each of these can run
code of the file's author, so a file that uses one is refused unless the user trusts it.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from rectexport.exporter.frontend.untrusted_archive import refuse_dangers

#: Limit for the description of a graph, larger than any real one; weights are stored in other entries.
MAX_JSON_BYTES = 256 << 20
_TARGET = re.compile(
    r"torch\.ops\.(?P<space>aten|prims|rectexport|torchvision)\.(?P<name>\w+)(\.(?!__)\w+)?"
    r"|torch\.ops\.higher_order\.(?!_)\w+|torch\.sym_\w+|math\.[a-z]\w*"
    r"|_operator\.(?!attrgetter|methodcaller|call\b)[a-z]\w*"
)
#: Registered operators that read or write files.
_FILES = ("save", "load", "from_file")
_NAME = re.compile(r"[A-Z]\w*|[su]\d+")
_EXPRESSION = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant,
    ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator, ast.Compare, ast.cmpop,
)  # fmt: skip


def check_program_archive(path: Path) -> None:
    """Raise BadInput, saying what was found, if loading the archive could run code."""
    refuse_dangers(path, _dangers, ".pt2", "run code when loaded")


def _dangers(archive: zipfile.ZipFile) -> Iterator[str]:
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "archive_version" not in names:
        yield "it has the layout of torch 2.7 and older, which is unpickled"
    for short, name in names.items():
        if short.startswith("data/aotinductor/"):
            yield f"{short} is a compiled library"
        elif short.startswith("data/sample_inputs/") and not _plain_tensors(archive.read(name)):
            yield f"{short} is a pickle of more than tensors"
        elif short.startswith("data/constants/") and short.endswith(".pt"):
            yield f"{short} holds its constants as a pickle"
        elif short.endswith(".json"):
            yield from _document_dangers(archive, short, name)


def _document_dangers(archive: zipfile.ZipFile, short: str, name: str) -> Iterator[str]:
    if archive.getinfo(name).file_size > MAX_JSON_BYTES:
        yield f"{short} is larger than {MAX_JSON_BYTES >> 20} MiB"
        return
    for key, value in _entries(json.loads(archive.read(name))):
        if key == "use_pickle" and value is not False:
            yield f"{short} has a pickled tensor"
        elif key == "path_name" and str(value).startswith(("custom_obj", "opaque_obj")):
            yield f"{short} has a pickled object, {value}"
        elif key == "expr_str" and not _harmless_expression(value):
            yield f"{short} has a size that is not a plain expression: {str(value)[:80]!r}"
        elif key == "target" and isinstance(value, str) and not _harmless_target(value):
            yield f"{short} calls {value[:80]!r}, which is not a torch operator"


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, at any depth."""
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from value.items()
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _harmless_target(text: str) -> bool:
    """Whether a target is a registered operator or arithmetic; torch would look up and call any other dotted name."""
    if not re.search(r"[.#:]", text):
        return True  # the name of a value
    found = _TARGET.fullmatch(text)
    if found is None or found["name"] in _FILES:
        return False
    return found["name"] is None or f"{found['space']}::{found['name']}" in _registered()


@cache
def _registered() -> frozenset[str]:
    return frozenset(schema.name for schema in torch._C._jit_get_all_schemas())


def _harmless_expression(text: Any) -> bool:
    """Whether an expression is arithmetic over symbols and sympy's constructors: no attributes, subscripts, strings."""
    try:
        tree = ast.parse(str(text), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(_harmless_node(node) for node in ast.walk(tree))


def _harmless_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return _NAME.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.isidentifier()
    return isinstance(node, _EXPRESSION)


def _plain_tensors(data: bytes) -> bool:
    if not data:
        return True
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:
        return False
    return True
