"""A pass, and what it reports: where it rewrote the graph, and which places it left alone with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from onnx import ModelProto


class Code(str, Enum):
    """Why a place was left alone, for programs; the sentence beside it is for people and may change."""

    MISMATCH = "mismatch"  # it resembles the pattern and is not equal to it
    DYNAMIC_SIZE = "dynamic_size"  # H or W is unknown until the model runs
    NOT_CONSTANT = "not_constant"  # weights, a bias or statistics are computed by the graph
    USED_ELSEWHERE = "used_elsewhere"  # a tensor in between has other readers, or is an output of the graph
    OPSET = "opset"  # the model's opset cannot hold the result
    PRECISION = "precision"  # it stays in float32
    NOT_EXACT = "not_exact"  # a form does not compute the same there
    GUARD = "guard"  # the pass changed an output, or its effect could not be compared


@dataclass(frozen=True)
class Refusal:
    """A place that looked right and was left alone: the node, the reason, and the reason's code."""

    node: str
    reason: str
    code: Code = Code.MISMATCH

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return {"node": self.node, "reason": self.reason}


@dataclass(frozen=True)
class PassResult:
    """Where a pass fired and where it refused."""

    name: str
    fired: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def skipped(self) -> bool:
        """Whether the guard skipped the pass."""
        return any(entry.code is Code.GUARD for entry in self.refused)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        refused = [entry.as_dict() for entry in self.refused]
        return {"name": self.name, "fired": list(self.fired), "refused": refused}


@dataclass
class PassRecord:
    """Collects a pass's result while it walks the graph."""

    name: str
    fired: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def fire(self, node: str) -> None:
        """Record a rewrite at `node`."""
        self.fired.append(node)

    def refuse(self, node: str, reason: str, code: Code = Code.MISMATCH) -> None:
        """Record a place that was left alone."""
        self.refused.append(Refusal(node, reason, code))

    def result(self) -> PassResult:
        """The finished report."""
        return PassResult(self.name, tuple(self.fired), tuple(self.refused))


@dataclass(frozen=True)
class Pass:
    """A rewrite of a model that keeps every tensor's value under every name that survives.

    name       unique in a pipeline
    run        from a model to (a new model, or the same one untouched, and a PassResult)
    stage      the part of the pipeline it belongs to; "" for a pass that is not one of ours
    takes      attributes of the PassContext that `run` takes as arguments of the same names
    targets    targets that need the pass; None for all. rectify and precision alike
    parts      the passes that `run` applies as one; each runs alone where the guard refuses them together
    operators  all that it rewrites are nodes of these operators: without one there is nothing to open the model for;
               None where that cannot be said
    """

    name: str
    run: Callable[..., tuple[ModelProto, PassResult]]
    stage: str = ""
    takes: tuple[str, ...] = ()
    targets: Collection[str] | None = None
    rectify: Collection[str] | None = None
    precision: Collection[str] | None = None
    parts: Sequence[Pass] = ()
    operators: Collection[str] | None = None

    def finds_nothing(self, model: ModelProto) -> bool:
        """Whether no node of the main graph is of an operator that the pass rewrites."""
        return self.operators is not None and not any(node.op_type in self.operators for node in model.graph.node)
