"""How far an output may be from PyTorch: defaults by precision, and bounds as they are typed."""

from __future__ import annotations

from collections.abc import Iterable

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import UsageError

__all__ = ["RELATIVE_L2", "Tolerance", "parse_bounds"]

#: Relative L2 against float64, by precision of the package.
RELATIVE_L2 = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 2e-2}


def parse_bounds(texts: Iterable[str], flag: str) -> dict[str, float]:
    """--atol 1e-4, --atol logits:1e-4, or several joined by commas. Raises UsageError otherwise."""
    bounds = {}
    for text in (part for entry in texts for part in entry.split(",")):
        output, _, number = text.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise UsageError(f"{flag} {text!r:.200}: expected a number >= 0, or OUTPUT:NUMBER")
        bounds[output] = value
    return bounds
