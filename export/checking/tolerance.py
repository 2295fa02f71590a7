"""Tolerances between the package's outputs and PyTorch's: defaults by precision, and parsing of --atol and --rtol."""

from __future__ import annotations

from collections.abc import Iterable

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import UsageError

__all__ = ["PRECISION_OF", "QUANTIZED_L2", "RELATIVE_L2", "SPREAD_FACTOR", "Tolerance", "parse_bounds"]

#: Bound on the relative L2 distance to float64, by precision of the package.
RELATIVE_L2 = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 2e-2}
#: The same for a file with quantization of its own: a value between two steps is rounded otherwise by another engine,
#: and 8 bits alone cost more than this.
QUANTIZED_L2 = 1e-2
#: How much farther an engine may be from the file as stored than inputs that differ by rounding move its answers: two
#: answers of one spread differ by 1.4 times as much.
SPREAD_FACTOR = 2.0
#: Of an ONNX file's own float type; float64 is compared as float32, which engines may compute it in.
PRECISION_OF = {"float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def parse_bounds(texts: Iterable[str], flag: str) -> dict[str, float]:
    """Bounds by output, "" for all: from --atol 1e-4, --atol logits:1e-4, or several joined by commas.

    Raises UsageError for anything else.
    """
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
