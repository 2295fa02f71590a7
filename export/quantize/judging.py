"""Judges an engine's int8 answers: against the Q/DQ file's own semantics, and against the float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rectexport.exporter.quantize.measuring import Outputs, snr_db
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput
from rectexport.runtime.evaluation.differences import Differences
from rectexport.runtime.evaluation.evaluate import difference
from rectexport.runtime.evaluation.metrics import find_metric

#: From this ratio on an engine computes what the Q/DQ nodes say; the rest is rounding in float32.
EXACT_DB = 60.0
#: An engine that rounds ties otherwise moves values by a step here and there, and many layers later its noise has
#: little in common with that of the nodes. Two noises of one size differ by 3 dB more than each: so far may the engine
#: be from the nodes, but its own distance from float may be no more than the second larger than theirs.
UNLIKE_DB, ROUNDING_DB = 3.5, 1.0


@dataclass
class EngineResult:
    """What one engine answered on the hold-out.

    snr, own_snr  in dB, against the float reference and against the Q/DQ nodes' own semantics
    differences   changed classes, with margins
    in_float      layers that it computes in float although they are quantized
    accuracy      of (reference, engine) in percent, with the interval of the difference; None without labels. metric
                  is its name; unmeasured says why labels that were given have none
    """

    engine: str
    snr: float
    own_snr: float
    differences: Differences = field(default_factory=Differences)
    in_float: Sequence[str] = ()
    accuracy: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None
    metric: str = "accuracy"
    unmeasured: str = ""

    def describe(self) -> str:
        """One line for people."""
        agreement = self.differences.agreement
        parts = [f"{self.engine} in int8: {self.snr:.1f} dB from float"]
        parts += [f"agrees on {agreement:.2%} of the hold-out"] if agreement is not None else []
        if self.accuracy is not None and self.interval is not None:
            low, high = self.interval
            parts.append(
                f"{self.metric} {self.accuracy[0]:.2f} % in float, {self.accuracy[1]:.2f} % in int8 "
                f"(difference {low:+.2f} to {high:+.2f} with 95 % confidence)"
            )
        parts += [f"accuracy not measured: {self.unmeasured}"] if self.unmeasured else []
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {
            "snr_db": self.snr,
            "own_semantics_snr_db": self.own_snr,
            "agreement": self.differences.agreement,
            "median_margin": self.differences.median_margin,
            "flips": [flip.as_dict() for flip in self.differences.flips],
            "in_float": list(self.in_float),
        }
        if self.accuracy is not None and self.interval is not None:
            found["accuracy"] = {"float": self.accuracy[0], "int8": self.accuracy[1], "interval": list(self.interval)}
        return found


def judge(
    engine: str,
    expected: Outputs,
    meant: Outputs,
    actual: Outputs,
    targets: Array | None,
    in_float: Sequence[str],
    answer: str = "",
) -> EngineResult:
    """Compare an engine's outputs with the float reference's, and with those that the Q/DQ nodes mean.

    answer  "topk" or "argmax" where the package answers with indices of classes, which are compared then
    """
    result = EngineResult(engine, snr_db(expected, actual), snr_db(meant, actual), in_float=in_float)
    names = [f"item {index}" for index in range(len(expected[0]))]
    if answer in ("topk", "argmax"):
        place = next(place for place, values in enumerate(expected) if values.dtype.kind == "i")
        first = (slice(None), slice(1)) if answer == "topk" else slice(None)
        result.differences.add_indices(expected[place][first], actual[place][first])
        result.unmeasured = "" if targets is None else "the answers are classes, not one number for each class"
        return result
    result.differences.add(names, expected[0], actual[0], targets)
    if targets is not None:
        _add_accuracy(result, expected[0], actual[0], targets)
    return result


def _add_accuracy(result: EngineResult, expected: Array, actual: Array, targets: Array) -> None:
    dense = expected.ndim == 4
    metric = find_metric("miou" if dense else "top1")
    try:
        first, second = (metric.of_items(answers, targets) for answers in (expected, actual))
    except BadInput as error:  # the labels are no classes of this output
        result.unmeasured = str(error)
        return
    found = difference(metric, first, second)
    if found.low is None or found.high is None or not np.isfinite(found.value):
        result.unmeasured = "too few labelled items of the hold-out"
        return
    result.metric = "mean IoU" if dense else "accuracy"
    result.accuracy = (float(metric.value(first.mean(axis=0))), float(metric.value(second.mean(axis=0))))
    result.interval = (found.low, found.high)


def faults(result: EngineResult, meant_snr: float, min_snr: float | None) -> list[str]:
    """Why an engine's int8 is not shipped; empty where it is.

    meant_snr   of the Q/DQ nodes' own semantics against the float reference
    """
    found = []
    if result.in_float:
        some = ", ".join(result.in_float[:5])
        found.append(f"computes {len(result.in_float)} quantized layers in float: {some}")
    near = result.own_snr >= meant_snr - UNLIKE_DB and result.snr >= meant_snr - ROUNDING_DB
    if not (result.own_snr >= EXACT_DB or near):
        found.append(
            f"computes something else than the Q/DQ nodes say: {result.own_snr:.1f} dB from them, and {result.snr:.1f} "
            f"dB from float where they are {meant_snr:.1f} dB from it"
        )
    if min_snr is not None and result.snr < min_snr:
        found.append(f"reaches {result.snr:.1f} dB on the hold-out, and {min_snr:g} dB were asked for")
    usual = result.differences.median_margin
    large = [flip for flip in result.differences.flips if usual is not None and flip.margin > usual]
    if large:
        worst = max(large, key=lambda flip: flip.margin)
        found.append(
            f"changes the class of {len(large)} items that float is sure of: {worst.item} of the hold-out from "
            f"{worst.expected} to {worst.actual}, margin {worst.margin:.3g} where the median is {usual:.3g}"
        )
    return found
