"""What a shadow has found so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.shadow.distances import COLUMNS


@dataclass
class Region:
    """Distances in one region of one output."""

    compared: int = 0
    differing: int = 0
    worst: float = 0.0
    total: float = 0.0

    def add(self, distance: float, allowed: float) -> bool:
        """Count a distance; whether it is larger than allowed."""
        differs = not distance <= allowed
        self.compared += 1
        self.differing += differs
        self.worst = max(self.worst, distance)
        self.total += distance
        return differs

    def as_dict(self) -> dict[str, Any]:
        """Plain values; null for an infinite distance."""
        mean = self.total / self.compared
        return {"differing": self.differing, "mean": _finite(mean), "worst": _finite(self.worst)}


@dataclass
class Record:
    """Counts of one shadow. allowed holds for floating-point outputs; integers must be equal.

    first is the number of the first compared request that differed, 0 where none did.
    """

    outputs: Sequence[str]
    exact: Sequence[bool]
    allowed: float
    compared: int = 0
    dropped: int = 0
    failed: int = 0
    differing: int = 0
    first: int = 0
    failure: str = ""
    regions: dict[tuple[str, str], Region] = field(default_factory=dict)

    def add(self, found: Array) -> bool:
        """Count a request's distances, [outputs, columns]; whether it is the first that differs."""
        self.compared += 1
        differs = False
        for name, exact, row in zip(self.outputs, self.exact, found.tolist(), strict=True):
            for column, distance in zip(COLUMNS, row, strict=True):
                if not math.isnan(distance):
                    region = self.regions.setdefault((name, column), Region())
                    differs |= region.add(distance, 0.0 if exact else self.allowed)
        self.differing += differs
        if differs and not self.first:
            self.first = self.compared
            return True
        return False

    @property
    def worst(self) -> tuple[str, str, float]:
        """Output, region and distance of the region that is farthest off; empty before the first comparison."""
        if not self.regions:
            return "", "", 0.0
        (name, column), region = max(self.regions.items(), key=lambda entry: entry[1].worst)
        return name, column, region.worst

    def as_dict(self) -> dict[str, Any]:
        """The report's plain values."""
        outputs: dict[str, dict[str, Any]] = {}
        for (name, column), region in self.regions.items():
            outputs.setdefault(name, {})[column] = region.as_dict()
        return {
            "compared": self.compared,
            "dropped": self.dropped,
            "failed": self.failed,
            "failure": self.failure,
            "differing": self.differing,
            "first_differing": self.first or None,
            "allowed": self.allowed,
            "outputs": outputs,
        }

    def in_words(self) -> str:
        """One line for people."""
        text = f"{self.compared} compared"
        for count, word in ((self.dropped, "dropped"), (self.failed, "failed")):
            text += f", {count} {word}" if count else ""
        if not self.compared:
            return text
        if not self.differing:
            return f"{text}, all within {self.allowed:.1e}"
        name, column, worst = self.worst
        where = "as a whole" if column == "all" else f"in region {column}"
        return (
            f"{text}, {self.differing} differ: output {name} by up to {worst:.1e} {where}, allowed {self.allowed:.1e}"
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
