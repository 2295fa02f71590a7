"""What a pass reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto


@dataclass(frozen=True)
class Refusal:
    """A place that looked right and was left alone, with the reason."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """Where a pass fired and where it refused."""

    name: str
    fired: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        refused = [{"node": entry.node, "reason": entry.reason} for entry in self.refused]
        return {"name": self.name, "fired": list(self.fired), "refused": refused}


@dataclass
class Tally:
    """Collects a pass's result while it walks the graph."""

    name: str
    fired: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def fire(self, node: str) -> None:
        """Record a rewrite at `node`."""
        self.fired.append(node)

    def refuse(self, node: str, reason: str) -> None:
        """Record a match that was left alone."""
        self.refused.append(Refusal(node, reason))

    def result(self) -> PassResult:
        """The finished report."""
        return PassResult(self.name, tuple(self.fired), tuple(self.refused))


@dataclass(frozen=True)
class Pass:
    """A rewrite of a model that keeps every tensor's value under every name that survives.

    run returns a new model, or the same one untouched, and what it did.
    """

    name: str
    run: Callable[[ModelProto], tuple[ModelProto, PassResult]]
