"""Which engines take an ONNX model, and compute it as ONNX says: a look at the table of known faults, without running.

A row is one finding about one engine. An engine without a finding has one row with verdict "ok": nothing that the
table knows speaks against it, which is no proof.

    refused   the engine does not load the model
    wrong     it loads the model and answers otherwise
    unknown   the table does not say
    ok        no finding
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto, NodeProto, defs

from rectexport.exporter.engine_facts.facts import Engine, Fact, facts, judged_engines, value_versions
from rectexport.exporter.engine_facts.view import STANDARD, Place, View, attributes

#: From the worst on.
VERDICTS = ("refused", "wrong", "unknown", "ok")
#: The engine's title in rows about the model itself, whatever runs it.
EVERY = "every engine"


@dataclass(frozen=True)
class Row:
    """One finding, or "ok"; node is "" where the whole model is meant."""

    engine: str
    verdict: str
    node: str = ""
    reason: str = ""
    way_out: str = ""
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def engine_report(model: ModelProto, tensorrt_version: str | None = None) -> tuple[Row, ...]:
    """Findings about every engine of the table, the worst first within an engine; the model is not changed.

    tensorrt_version: judge this version of TensorRT, as in 10.3, instead of those that the table lists.
    """
    view = View(model)
    rows = [*_invalid(view)]
    for engine in judged_engines(tensorrt_version):
        found = [*_whole_model(engine, view), *_nodes(engine, view)]
        found.sort(key=lambda row: VERDICTS.index(row.verdict))
        rows += found or [Row(engine.title, "ok", source=engine.source)]
    return tuple(rows)


def verdicts(rows: Sequence[Row]) -> dict[str, str]:
    """The worst verdict of each engine, in the table's order."""
    found: dict[str, str] = {}
    for row in rows:
        found[row.engine] = min(found.get(row.engine, "ok"), row.verdict, key=VERDICTS.index)
    return found


def _whole_model(engine: Engine, view: View) -> Iterator[Row]:
    if engine.newest_opset and view.opset > engine.newest_opset:
        limit = "it reads" if engine.refuses_newer else "it is documented for"
        yield Row(
            engine.title,
            "refused" if engine.refuses_newer else "unknown",
            reason=f"opset {view.opset}; {limit} opsets up to {engine.newest_opset}",
            way_out="it takes operators that have not changed since: rectexport build tries it there"
            if not engine.refuses_newer
            else "install a newer release of the engine",
            source=engine.source,
        )
    if engine.newest_ir and view.model.ir_version > engine.newest_ir:
        yield Row(
            engine.title,
            "refused",
            reason=f"IR version {view.model.ir_version}; it reads IR versions up to {engine.newest_ir}",
            way_out="write the model with an older onnx package",
            source=engine.source,
        )
    if not engine.functions and view.functions:
        yield Row(
            engine.title,
            "refused",
            reason="the model has local functions, which it does not read",
            way_out="inline them: rectexport optimize, or a target with standard operators",
            source=engine.source,
        )


def _nodes(engine: Engine, view: View) -> Iterator[Row]:
    table = [fact for fact in facts() if fact.engine == engine.name and not fact.values]
    table = [fact for fact in table if fact.holds_for(engine.version)]
    for place in view.places:
        yield from (_row(engine, place, fact) for fact in table if fact.matches(place.node, view))
        node = place.node
        if node.domain not in STANDARD and (node.domain, node.op_type) not in view.functions:
            reason = f"operator {node.op_type} of domain {node.domain} has no function body"
            yield Row(engine.title, "unknown", place.name, reason, "try it on this engine, or load its plugin first")


def _row(engine: Engine, place: Place, fact: Fact) -> Row:
    passed = f"pass {fact.avoided_by} writes it in other operators: export for target {engine.name}"
    way_out = "; ".join(text for text in (passed if fact.avoided_by else "", fact.way_out) if text)
    return Row(engine.title, fact.verdict, place.name, f"{place.node.op_type}: {fact.reason}", way_out, fact.source)


def _invalid(view: View) -> Iterator[Row]:
    """Operators, attributes and values that the model's opset does not have."""
    for place in view.places:
        node = place.node
        if node.domain in STANDARD:
            for reason in _missing(node, view.opset):
                way_out = "raise the opset, or use operators that it has"
                yield Row(EVERY, "wrong", place.name, f"{node.op_type}: {reason}", way_out, "ONNX operator schemas")


def _missing(node: NodeProto, opset: int) -> Iterator[str]:
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError:
        yield f"opset {opset} has no such operator"
        return
    given = attributes(node)
    for name in given:
        if name not in schema.attributes:
            yield f"at opset {opset} it has no attribute {name}"
    for name, value in given.items():
        since = value_versions().get((node.op_type, name, value), 0) if isinstance(value, str) else 0
        if since > opset:
            yield f"{name} {value} exists from opset {since} on, the model has {opset}"
