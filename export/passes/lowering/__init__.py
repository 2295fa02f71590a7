"""Lowering: each dialect node becomes the form that is fastest on the target, exactly."""

from __future__ import annotations

from rectexport.exporter.passes.lowering.choice import Considered, Decision
from rectexport.exporter.passes.lowering.machinery.costs import DEFAULT_TARGET, TARGETS, load_costs

__all__ = ["DEFAULT_TARGET", "TARGETS", "Considered", "Decision", "load_costs"]
