"""Checks the manifest against runtime/package/manifest.schema.json without a JSON Schema library.

Only the keywords of JSON Schema that this file uses are implemented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MANIFEST_SCHEMA = Path(__file__).with_name("manifest.schema.json")
_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
#: Keywords that state no constraint.
_NOTES = frozenset({"$schema", "$defs", "title", "description", "format"})


def manifest_faults(document: Any) -> Iterator[str]:
    """Each violation of the manifest's schema as a line: where, expected, found."""
    schema = _manifest_schema()
    return faults(document, schema, schema)


def field_faults(document: Mapping[str, Any], field: str) -> Iterator[str]:
    """The same for one field that is present; other fields are not checked."""
    schema = _manifest_schema()
    return faults(document[field], schema["properties"][field], schema, field)


def _manifest_schema() -> Any:
    return json.loads(MANIFEST_SCHEMA.read_text(encoding="utf-8"))


def faults(value: Any, schema: Any, root: Mapping[str, Any], where: str = "manifest") -> Iterator[str]:
    """Each violation of a schema by a value. Raises KeyError for a keyword that is not implemented."""
    if schema is True:
        return
    if schema is False:
        yield f"{where}: not expected here"
        return
    for keyword, wanted in schema.items():
        if keyword not in _NOTES:
            yield from _CHECKS[keyword](value, wanted, schema, root, where)


def _reference(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    target = root
    for part in wanted.removeprefix("#/").split("/"):
        target = target[part]
    yield from faults(value, target, root, where)


def _type(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    names = wanted if isinstance(wanted, list) else [wanted]
    if not any(_is(value, name) for name in names):
        yield f"{where}: expected {' or '.join(names)}, got {_shown(value)}"


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _const(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    yield from _enum(value, [wanted], schema, root, where)


def _enum(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    if not any(value == entry and isinstance(value, bool) == isinstance(entry, bool) for entry in wanted):
        yield f"{where}: expected {' or '.join(map(_shown, wanted))}, got {_shown(value)}"


def _pattern(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(wanted, value):
        yield f"{where}: expected a match of {wanted}, got {_shown(value)}"


def _minimum(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    if _is(value, "number") and value < wanted:
        yield f"{where}: expected at least {wanted}, got {_shown(value)}"


def _min_items(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    if isinstance(value, list) and len(value) < wanted:
        yield f"{where}: expected at least {wanted} entries, got {len(value)}"


def _max_items(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    if isinstance(value, list) and len(value) > wanted:
        yield f"{where}: expected at most {wanted} entries, got {len(value)}"


def _items(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        yield from faults(entry, wanted, root, f"{where}[{index}]")


def _one_of(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    said = [list(faults(value, option, root, where)) for option in wanted]
    if sum(not found for found in said) != 1:
        yield next((found[0] for found in said if found), f"{where}: matches more than one alternative of oneOf")


def _required(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    for name in wanted if isinstance(value, dict) else ():
        if name not in value:
            yield f"{where}: {name} is missing"


def _properties(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    for name, entry in wanted.items() if isinstance(value, dict) else ():
        if name in value:
            yield from faults(value[name], entry, root, f"{where}.{name}")


def _additional(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name, entry in value.items() if isinstance(value, dict) else ():
        if name not in known:
            yield from faults(entry, wanted, root, f"{where}.{name}")


def _names(value: Any, wanted: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        yield from faults(name, wanted, root, where)


def _shown(value: Any) -> str:
    return f"{json.dumps(value):.100}"


_CHECKS: dict[str, Callable[[Any, Any, Any, Any, str], Iterator[str]]] = {
    "$ref": _reference,
    "additionalProperties": _additional,
    "const": _const,
    "enum": _enum,
    "items": _items,
    "maxItems": _max_items,
    "minItems": _min_items,
    "minimum": _minimum,
    "oneOf": _one_of,
    "pattern": _pattern,
    "properties": _properties,
    "propertyNames": _names,
    "required": _required,
    "type": _type,
}
