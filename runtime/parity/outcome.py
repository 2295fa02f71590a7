"""The result of a comparison, and the tensor to draw as a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.parity.metamorphic import Check
from rectexport.runtime.parity.reports import CaseReport, LayerReport


@dataclass
class Exhibit:
    """The tensor to show: the first that exceeds its tolerance, or else the one with the largest error.

    score is its worst region's relative L2 divided by the allowed one; above 1 exceeds the tolerance.
    """

    title: str = ""
    score: float = -1.0
    expected: Array = field(default_factory=lambda: np.zeros(0))
    actual: Array = field(default_factory=lambda: np.zeros(0))

    def offer(self, title: str, score: float, expected: Array, actual: Array) -> None:
        """Keep this tensor instead if no kept one exceeds its tolerance and its score is larger, or NaN."""
        if expected.size and not score <= self.score and self.score <= 1:
            self.title, self.score = title, score if score == score else float("inf")
            self.expected, self.actual = expected, actual


@dataclass(repr=False)
class ParityOutcome:
    """The result of a comparison.

    failed_feeds are the inputs of the first failure; divergence is the first layer that diverges on them.
    """

    tolerance: Tolerance
    cases: list[CaseReport] = field(default_factory=list)
    checks: list[tuple[str, Check]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outputs: Exhibit = field(default_factory=Exhibit)
    inner: Exhibit = field(default_factory=Exhibit)
    failed_feeds: Mapping[str, Array] | None = None
    divergence: LayerReport | None = None

    def __repr__(self) -> str:
        verdict = "agrees" if self.passed else f"differs in {len(self.failures)} places, first {self.failures[0]}"
        layers = {layer.tensor for case in self.cases for layer in case.layers}
        inner = f", {len(layers)} inner tensors" if layers else ""
        return f"<ParityOutcome: {verdict}; {len(self.cases)} cases{inner}, {len(self.checks)} checks>"

    def _repr_html_(self) -> str | None:
        return as_html("parity", self)

    @property
    def failures(self) -> list[str]:
        """Every failure with its case, in the order of the cases."""
        found = [f"{case.label}: {text}" for case in self.cases for text in case.failures]
        return found + [f"{check.name} at {at}: {text}" for at, check in self.checks for text in check.failures]

    @property
    def passed(self) -> bool:
        """Whether no comparison and no check failed."""
        return not self.failures

    @property
    def exhibit(self) -> Exhibit:
        """The tensor for the heat map: an inner one, unless only an output exceeds its tolerance."""
        first, second = self.inner, self.outputs
        return second if first.score < 0 or first.score <= 1 < second.score else first

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for parity.json."""
        return {
            "passed": self.passed,
            "tolerances": self.tolerance.as_dict(),
            "cases": [case.as_dict() for case in self.cases],
            "metamorphic": [{"at": at, **check.as_dict()} for at, check in self.checks],
            "notes": self.notes,
            "first_divergence": None if self.divergence is None else self.divergence.as_dict(),
        }
