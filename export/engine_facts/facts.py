"""The rows of facts.json: one fault or gap of one engine each.

engine       "onnxruntime", "openvino" or "tensorrt"
since until  versions [since, until) that it holds for; "" for open ends
operators    standard operators that it is about; "*" for all
attributes   attribute → values that it is about; "*" for any value. All must match
dtypes       dtypes of the first input that it is about; empty for any
opset_below  it is about models below this opset
condition    name of a function in conditions.py that must hold as well
hidden       a comparison may miss it, because only some values show it: it counts as a difference wherever it matches
values       input values that show it, where a model alone does not: such a row is no finding about a model
verdict      "refused", "wrong" (values or shape), or "unknown" where it was seen and could not be repeated
reason       what the engine does
avoided_by   the pass that writes the graph so that it does not show, or ""
way_out      what a person can do, where no pass does
source       how it is known; a version is the one that it was seen with
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from onnx import NodeProto

from rectexport.exporter.engine_facts.conditions import CONDITIONS
from rectexport.exporter.engine_facts.view import STANDARD, View, attributes
from rectexport.runtime.errors import Option, UsageError

#: Beside this file, where an editable install reads the checkout's own.
TABLE = Path(__file__).with_name("facts.json")
VERDICTS = ("refused", "wrong", "unknown")
#: JetPack 5's TensorRT: trtexec builds with it.
OLDEST_TENSORRT = (8, 5)
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")
#: Stands for all operators.
EVERY = "*"


@dataclass(frozen=True)
class Fact:
    """One row; the module's docstring says what the fields are."""

    engine: str
    operators: Sequence[str]
    verdict: str
    reason: str
    source: str
    since: str = ""
    until: str = ""
    attributes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    dtypes: Sequence[str] = ()
    opset_below: int = 0
    condition: str = ""
    hidden: bool = False
    values: str = ""
    avoided_by: str = ""
    way_out: str = ""

    def holds_for(self, version: str) -> bool:
        """Whether the row is about this version of its engine."""
        here = _numbers(version)
        return (not self.since or _numbers(self.since) <= here) and (not self.until or here < _numbers(self.until))

    def matches(self, node: NodeProto, view: View) -> bool:
        """Whether a node is what the row is about."""
        if not {node.op_type, EVERY} & set(self.operators) or node.domain not in STANDARD:
            return False
        if self.opset_below and view.opset >= self.opset_below:
            return False
        if self.dtypes and (not node.input or view.dtype(node.input[0]) not in self.dtypes):
            return False
        given = attributes(node)
        if not all(name in given and _among(given[name], wanted) for name, wanted in self.attributes.items()):
            return False
        return not self.condition or CONDITIONS[self.condition](node, view)


@dataclass(frozen=True)
class Engine:
    """An engine of the report: its name, the version that stands for its line, and the models that it reads.

    refuses_newer is False where the engine reads models beyond its newest opset without checking: they may work.
    """

    name: str
    version: str
    title: str
    newest_opset: int
    newest_ir: int
    refuses_newer: bool
    functions: bool
    source: str


@cache
def facts() -> tuple[Fact, ...]:
    """Every row of the table."""
    return tuple(Fact(**row) for row in _table()["facts"])


@cache
def engines() -> tuple[Engine, ...]:
    """The engines of the table; 0 for a newest opset or IR version without a known limit."""
    return tuple(Engine(**row) for row in _table()["engines"])


def tensorrt(version: str) -> Engine:
    """What stands for a version of TensorRT, as in 10.3: the row of its major version. Raises UsageError for others."""
    rows = {entry.version.partition(".")[0]: entry for entry in engines() if entry.name == "tensorrt"}
    row = rows.get(version.partition(".")[0])
    if row is None or not _VERSION.fullmatch(version) or _numbers(version) < OLDEST_TENSORRT:
        raise UsageError(Option("tensorrt_version", version), ": expected 8.5, 8.6, or one of 10 and 11, as in 10.3")
    return replace(row, version=version, title=f"TensorRT {version}")


def judged_engines(tensorrt_version: str | None = None) -> tuple[Engine, ...]:
    """The engines to judge a model for: those of the table, or one version of TensorRT instead of its rows."""
    if tensorrt_version is None:
        return engines()
    return (*(entry for entry in engines() if entry.name != "tensorrt"), tensorrt(tensorrt_version))


@cache
def value_versions() -> Mapping[tuple[str, str, str], int]:
    """(operator, attribute, value) → the first opset that has this value of the attribute."""
    rows = _table()["attribute_values"]
    return {(row["operator"], row["attribute"], row["value"]): row["since_opset"] for row in rows}


def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return document


def _among(value: Any, wanted: Sequence[Any]) -> bool:
    return "*" in wanted or value in wanted


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
