"""Findings about a target's engine in a finished export: warnings for the log, an error where no version takes it.

A finding joins what the table (export/engine_facts/) says about several nodes and versions. It is certain if each
version of the engine that the table knows refuses one node, and one of these was seen to by its own parser; where one
version was asked for, if that version is known to refuse a node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from rectexport.exporter.engine_facts.facts import judged_engines
from rectexport.exporter.tools.engine_report import Row, engine_report

#: Nodes of a finding that are named.
MOST_NODES = 3
#: In the source of a row that was seen with the engine's own parser.
_SEEN = "its parser"


@dataclass(frozen=True)
class Finding:
    """One reason: the versions that it is about, their verdict, and the nodes; none where the whole model is meant."""

    verdict: str
    reason: str
    versions: tuple[str, ...]
    nodes: tuple[str, ...]
    way_out: str

    def describe(self) -> str:
        """One line, as in TensorRT 8.6: refused: Resize: mode cubic (node_1, node_2); use linear."""
        more = [f"and {len(self.nodes) - MOST_NODES} more"] if len(self.nodes) > MOST_NODES else []
        where = f" ({', '.join([*self.nodes[:MOST_NODES], *more])})" if self.nodes else ""
        way_out = f"; {self.way_out}" if self.way_out else ""
        return f"{', '.join(self.versions)}: {self.verdict}: {self.reason}{where}{way_out}"


@dataclass(frozen=True)
class Lint:
    """What is known against each version that was judged, the worst first; certain: none of them takes the model."""

    findings: Sequence[Finding]
    certain: Finding | None


def lint(model: ModelProto, engine: str, tensorrt_version: str | None = None) -> Lint:
    """What the table says about a model; it is not changed. tensorrt_version: about this one alone, as in 10.3."""
    titles = {entry.title for entry in judged_engines(tensorrt_version) if entry.name == engine}
    found = engine_report(model, tensorrt_version)
    rows = [row for row in found if row.engine in titles and row.verdict != "ok"]
    return Lint(_joined(rows), _certain(rows, titles, seen=tensorrt_version is None))


def _certain(rows: Sequence[Row], titles: Collection[str], seen: bool) -> Finding | None:
    refused: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.verdict == "refused" and row.node:
            refused[row.node].append(row)
    for own in refused.values():
        if {row.engine for row in own} == titles and (not seen or any(_SEEN in row.source for row in own)):
            return _joined(own)[0]
    return None


def _joined(rows: Iterable[Row]) -> list[Finding]:
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.verdict, row.reason, row.way_out].append(row)
    found = [
        Finding(verdict, reason, _each(row.engine for row in own), _each(row.node for row in own if row.node), way_out)
        for (verdict, reason, way_out), own in groups.items()
    ]
    order: Sequence[str] = ("refused", "wrong", "unknown")
    return sorted(found, key=lambda finding: order.index(finding.verdict))


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
