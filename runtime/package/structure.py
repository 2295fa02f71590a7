"""What forward returns around its tensors: dicts, tuples, named tuples and constants, as manifest.json records it.

A node of a structure is one of

    {"output": NAME}                        an output of the package
    {"value": X}                            a constant: null, a boolean, a finite number or a text
    {"tuple": [NODE, …]}, {"list": [NODE, …]}
    {"dict": [[KEY, NODE], …]}              keys are texts or whole numbers; pairs, because order counts
    {"namedtuple": CLASS, "fields": [[NAME, NODE], …]}   a named tuple or a dataclass
"""

from __future__ import annotations

import keyword
from collections import namedtuple
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

#: Deepest nesting that is read.
MAX_DEPTH = 32


class StructureError(ValueError):
    """What is wrong with a structure, or with a value that should have it."""


def check_structure(node: Any, names: Collection[str], depth: int = 0) -> None:
    """Raise StructureError unless `node` is a structure whose outputs are among `names`."""
    if depth > MAX_DEPTH:
        raise StructureError(f"nested deeper than {MAX_DEPTH}")
    kind, value = _kind(node)
    if kind == "output":
        if value not in names:
            raise StructureError(f"no output {value!r:.100}")
    elif kind == "value":
        if not is_constant(value):
            raise StructureError(f"expected a constant, got {value!r:.100}")
    else:
        for entry in _children(kind, node):
            check_structure(entry, names, depth + 1)


def rebuild(node: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
    """The value that forward would return: the structure with each output's array in its place."""
    kind, value = _kind(node)
    if kind == "output":
        return results[value]
    if kind == "value":
        return value
    if kind == "dict":
        return {key: rebuild(entry, results) for key, entry in value}
    if kind == "namedtuple":
        fields = node["fields"]
        return _class(value, tuple(name for name, _ in fields))(*(rebuild(entry, results) for _, entry in fields))
    entries = (rebuild(entry, results) for entry in value)
    return list(entries) if kind == "list" else tuple(entries)


def collect(node: Mapping[str, Any], result: Any) -> dict[str, Any]:
    """What stands in `result`, a value that forward returned, at the place of each output, by the output's name.

    Raises StructureError that names the place where the value has another structure.
    """
    return dict(_collected(node, result, "the result"))


def constants(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every constant; the path is as in an output's name, `aux.count`."""
    kind, value = _kind(node)
    if kind == "value":
        yield path, value
    elif kind != "output":
        for key, entry in zip(_keys(kind, node), _children(kind, node), strict=True):
            yield from constants(entry, f"{path}.{key}" if path else str(key))


def renamed(node: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same structure with other names of outputs; names gives the new one for each old one."""
    kind, value = _kind(node)
    if kind == "output":
        return {"output": names.get(value, value)}
    if kind == "value":
        return {"value": value}
    entries = [renamed(entry, names) for entry in _children(kind, node)]
    pairs = [[key, entry] for key, entry in zip(_keys(kind, node), entries, strict=True)]
    if kind == "namedtuple":
        return {"namedtuple": value, "fields": pairs}
    return {kind: pairs if kind == "dict" else entries}


def is_plain(node: Mapping[str, Any]) -> bool:
    """Whether a session returns this without a record: one output, or a tuple of outputs."""
    kind, value = _kind(node)
    return kind == "output" or (kind == "tuple" and bool(value) and all("output" in entry for entry in value))


def is_constant(value: Any) -> bool:
    """Whether a structure can hold this value."""
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and isfinite(value))


def _kind(node: Any) -> tuple[str, Any]:
    kinds = [key for key in ("output", "value", "tuple", "list", "dict", "namedtuple") if key in _table(node)]
    expected = {*kinds, "fields"} if kinds == ["namedtuple"] else {*kinds}
    if len(kinds) != 1 or node.keys() != expected:
        raise StructureError(f"expected one of output, value, tuple, list, dict, namedtuple; got {list(node)!r:.100}")
    return kinds[0], node[kinds[0]]


def _table(node: Any) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise StructureError(f"expected an object, got {node!r:.100}")
    return node


def _children(kind: str, node: Mapping[str, Any]) -> list[Any]:
    """The nodes inside; raises StructureError for keys or fields that cannot be."""
    if kind in ("tuple", "list"):
        return _array(node[kind])
    pairs = _array(node["fields" if kind == "namedtuple" else kind])
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise StructureError(f"{kind}: expected pairs of a key and a node")
    keys = [key for key, _ in pairs]
    wanted = _is_name if kind == "namedtuple" else _is_key
    wrong = [key for key in keys if not wanted(key)]
    if kind == "namedtuple" and not _is_identifier(node[kind]):
        wrong = [node[kind]]
    if wrong or len(set(keys)) < len(keys):
        raise StructureError(f"{kind}: {wrong[0]!r:.100} is no name" if wrong else f"{kind}: a key occurs twice")
    return [entry for _, entry in pairs]


def _keys(kind: str, node: Mapping[str, Any]) -> list[Any]:
    if kind in ("tuple", "list"):
        return list(range(len(node[kind])))
    return [key for key, _ in node["fields" if kind == "namedtuple" else kind]]


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise StructureError(f"expected an array, got {value!r:.100}")
    return value


def _is_key(key: Any) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool))


def _is_name(name: Any) -> bool:
    """Whether a named tuple can have such a field."""
    return _is_identifier(name) and not name.startswith("_")


def _is_identifier(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


@lru_cache(maxsize=256)
def _class(name: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(name, fields)


def _collected(node: Mapping[str, Any], result: Any, where: str) -> Iterator[tuple[str, Any]]:
    kind, value = _kind(node)
    if kind == "output":
        yield value, result
        return
    if kind == "value":
        return
    children, keys = _children(kind, node), _keys(kind, node)
    for key, entry in zip(keys, children, strict=True):
        try:
            inner = getattr(result, key) if kind == "namedtuple" else result[key]
        except (AttributeError, IndexError, KeyError, TypeError):
            found = type(result).__name__
            raise StructureError(f"{where} has no {key!r}: expected a {kind} of {len(keys)}, got a {found}") from None
        yield from _collected(entry, inner, f"{where}[{key!r}]")
