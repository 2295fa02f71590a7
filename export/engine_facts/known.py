"""A fault of an engine that a comparison may miss, because only some values show it."""

from __future__ import annotations

from onnx import ModelProto

from rectexport.exporter.engine_facts.facts import facts
from rectexport.exporter.engine_facts.view import View


def hidden_fault(model: ModelProto, engine: str, version: str) -> str:
    """The first node of the model with such a fault, and its reason; empty where there is none."""
    rows = [row for row in facts() if row.hidden and row.engine == engine and row.holds_for(version)]
    if not rows:
        return ""
    view = View(model)
    found = ((place, row) for place in view.places for row in rows if row.matches(place.node, view))
    return next((f"{place.name}: {row.reason}; target {engine} avoids it" for place, row in found), "")
