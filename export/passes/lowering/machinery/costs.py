"""The committed cost tables: the time of each form on a target, relative to the graph as written.

A table is a JSON file, one for each target, in `costs/`: the machine it was measured on, and entries

    {"operator": …, "form": …, "kernel": k, "channels": C, "size": H, "batch": N, "ratio": time / time as written}

where ratio is the upper end of the measured interval, so that noise alone never makes a form win. A site takes the
ratio of the nearest entry of its operator, form and kernel. Nearest means the smallest sum of |log2| distances in
channels, size (the geometric mean of H and W) and batch; a size that the graph leaves open counts as _MIDDLE. Nothing
is interpolated: ratios vary slowly, and each step of two is measured. Grouped convolutions and kernels that were not
measured have no cost, so they stay as written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from typing import Any

from rectexport.exporter.base.options import DEFAULT_TARGET, TARGETS, check_target
from rectexport.exporter.passes.lowering.machinery.form import Shape

__all__ = ["DEFAULT_TARGET", "TABLES", "TARGETS", "CostTable", "load_costs"]

#: Found beside this file, so that an editable install reads the tables of the checkout.
TABLES = Path(__file__).with_name("costs")
#: The table of quantized models.
INT8 = "int8"
#: Forms that are measured in int8, too, but never taken there: a range for both signs of y costs 3 dB.
INEXACT_IN_INT8 = frozenset({"halves", "parted", "grouped"})
#: The size assumed where the graph leaves it open.
_MIDDLE = {"channels": 64, "size": 56, "batch": 1}


@dataclass(frozen=True)
class CostTable:
    """Measured ratios of one target."""

    target: str
    machine: Mapping[str, Any]
    entries: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def description(self) -> str:
        """Where the figures come from."""
        return f"{self.target}: {self.machine.get('description', 'an unnamed machine')}"

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """The nearest entry's ratio."""
        if shape is None or shape.groups != 1:
            return None
        measured = [
            entry
            for entry in self.entries
            if (entry["operator"], entry["form"], entry["kernel"]) == (operator, form, shape.kernel)
        ]
        if not measured:
            return None
        return float(min(measured, key=lambda entry: _distance(entry, shape))["ratio"])


def load_costs(target: str, precision: str = "fp32") -> CostTable:
    """The table of a target; int8 has one of its own. Raises UsageError for a target that is not known."""
    check_target(target)
    name = INT8 if precision == INT8 else target
    document = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    entries = document["entries"]
    if name == INT8:
        entries = [entry for entry in entries if entry["form"] not in INEXACT_IN_INT8]
    return CostTable(target, document["machine"], entries)


def _distance(entry: Mapping[str, Any], shape: Shape) -> float:
    sizes = {"channels": shape.channels, "size": (shape.height * shape.width) ** 0.5, "batch": shape.batch}
    return sum(abs(log2(entry[name] / (value or _MIDDLE[name]))) for name, value in sizes.items())
