"""rewrites.json: what each pass changed, so that a report can draw it without the graphs themselves.

It holds the number of nodes by operator before and after and, for each pass, its most frequent kinds of rewrite with
one example each. Its size does not grow with the network.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx import ModelProto

from rectexport.exporter.graph.results import Pass, PassResult
from rectexport.exporter.writing.neighbourhood import Excerpt, operators, rewrites

FORMAT = "rectexport-rewrites"
VERSION = 1
#: Most kinds of rewrite that are kept per pass, the most frequent ones.
MAX_EXAMPLES = 3


@dataclass
class _Kind:
    """Rewrites that look alike: the first of them, and how many there are."""

    tensor: str
    before: Excerpt
    after: Excerpt
    count: int = 0

    def as_dict(self) -> dict[str, Any]:
        sides = {"before": self.before.as_dict(), "after": self.after.as_dict()}
        return {"tensor": self.tensor, "count": self.count, **sides}


@dataclass
class Rewrites:
    """Records what each pass changes."""

    passes: list[dict[str, Any]] = field(default_factory=list)

    def watched(self, entry: Pass) -> Pass:
        """The same pass, which also records what it changed."""

        def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
            rewritten, result = entry.run(model)
            self.note(entry.name, model, rewritten)
            return rewritten, result

        return replace(entry, run=run, parts=tuple(map(self.watched, entry.parts)))

    def keep(self, results: Sequence[PassResult]) -> None:
        """Forget what passes did that the guard has skipped, or has run in parts."""
        kept = {entry.name for entry in results if not entry.skipped}
        self.passes = [entry for entry in self.passes if entry["name"] in kept]

    def note(self, name: str, before: ModelProto, after: ModelProto) -> None:
        """Record what a pass changed; nothing is recorded for a pass that returned the same model."""
        if before is after:
            return
        kinds: dict[Any, _Kind] = {}
        for tensor, old, new in rewrites(before, after):
            kinds.setdefault((old.pattern(), new.pattern()), _Kind(tensor, old, new)).count += 1
        frequent = sorted(kinds.values(), key=lambda kind: -kind.count)[:MAX_EXAMPLES]
        delta = _delta(operators(before), operators(after))
        examples = [kind.as_dict() for kind in frequent]
        self.passes.append({"name": name, "delta": delta, "kinds": len(kinds), "examples": examples})

    def as_dict(self, before: ModelProto, after: ModelProto, parameters: int | None) -> dict[str, Any]:
        """The document of rewrites.json. before: the traced model; after: the packaged one."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "nodes": {"before": dict(operators(before)), "after": dict(operators(after))},
            "parameters": parameters,
            "constants": {"before": _elements(before), "after": _elements(after)},
            "passes": self.passes,
        }


def _delta(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    changes = {name: after[name] - before[name] for name in {*before, *after}}
    return {name: change for name, change in sorted(changes.items()) if change}


def _elements(model: ModelProto) -> int:
    """How many values the model stores in its initializers: weights, statistics, factors."""
    return sum(math.prod(entry.dims) for entry in model.graph.initializer)
