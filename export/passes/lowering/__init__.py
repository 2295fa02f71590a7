"""Lowering: each dialect node becomes the form that is fastest on the target, exactly."""

from __future__ import annotations

from rectexport.exporter.passes.lowering.choice import OPERATORS, Considered, Decision, Lowering, lower
from rectexport.exporter.passes.lowering.machinery.costs import DEFAULT_TARGET, TARGETS, load_costs

__all__ = ["DEFAULT_TARGET", "OPERATORS", "TARGETS", "Considered", "Decision", "Lowering", "load_costs", "lower"]
