"""Lowering: give each dialect node the form that is fastest on the target. Every form is exact."""

from __future__ import annotations

from rectexport.exporter.passes.lowering.choice import Considered, Decision
from rectexport.exporter.passes.lowering.machinery.costs import DEFAULT_TARGET, TARGETS, load_costs

__all__ = ["DEFAULT_TARGET", "TARGETS", "Considered", "Decision", "load_costs"]
