"""The sequence of passes that users may change: leave one out, or add one of their own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rectexport.exporter.graph.results import Pass
from rectexport.exporter.passes.order import PASSES, STAGES
from rectexport.runtime.errors import UsageError


@dataclass(frozen=True)
class PassPipeline:
    """An immutable sequence of passes; every method returns a new one.

        pipeline = PassPipeline.default().without("raise_crelu").after("batch_norm", Pass("mine", run))
        rectexport.export(net, (x,), "net", passes=pipeline)

    A pass is `Pass(name, run)`, where run takes an onnx.ModelProto and returns it with a PassResult: the same model
    untouched, or a new one. It is compared like ours, before and after, unless guard=False or it stands after the
    conversion to float16 or bfloat16. `Pass` and `PassResult` come from rectexport.exporter.passes.

    Which passes run still depends on the target, the form of rectification and the precision: a pipeline names all
    that may. Raises UsageError for unknown or repeated names.
    """

    passes: tuple[Pass, ...] = PASSES

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for entry in self.passes:
            if not isinstance(entry, Pass):
                raise UsageError(f"passes: expected Pass(name, run), got {type(entry).__name__}")
            if entry.name in seen:
                raise UsageError(f"passes: two passes are named {entry.name}; names must differ")
            seen.add(entry.name)

    @classmethod
    def default(cls) -> PassPipeline:
        """All passes of this release, in order."""
        return cls()

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(entry.name for entry in self.passes)

    def without(self, *names: str) -> PassPipeline:
        """Leave passes out. A stage ("raise", "lower") stands for all its passes."""
        for name in names:
            self._check(name, (*self.names, *(stage for stage in STAGES if self._has_stage(stage))))
        return PassPipeline(tuple(p for p in self.passes if p.name not in names and p.stage not in names))

    def before(self, name: str, entry: Pass) -> PassPipeline:
        """Add a pass right before another."""
        return self._insert(self._index(name), entry)

    def after(self, name: str, entry: Pass) -> PassPipeline:
        """Add a pass right after another."""
        return self._insert(self._index(name) + 1, entry)

    def _insert(self, index: int, entry: Pass) -> PassPipeline:
        return PassPipeline((*self.passes[:index], entry, *self.passes[index:]))

    def _index(self, name: str) -> int:
        self._check(name, self.names)
        return self.names.index(name)

    def _has_stage(self, stage: str) -> bool:
        return any(entry.stage == stage for entry in self.passes)

    def _check(self, name: Any, known: Collection[str]) -> None:
        if name not in known:
            near = [entry for entry in known if str(name) in entry] or get_close_matches(str(name), known, 3, 0.4)
            raise UsageError(
                f"passes: no pass is named {name}; {'did you mean' if near else 'there are'} {', '.join(near or known)}"
            )
