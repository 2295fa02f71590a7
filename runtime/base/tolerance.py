"""The tolerance that an output is compared with its reference at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rectexport.runtime.base.metrics import Difference
from rectexport.runtime.base.runner import Array

#: The allowed error of an inner tensor or a region, as a multiple of an output's: in a net of 80 layers, rounding
#: reaches 1e-5 in some regions and is averaged out later. A wrong border is off by 0.1 or more.
LAYER_FACTOR = 10


@dataclass(frozen=True)
class Tolerance:
    """A bound on relative L2, and |actual - expected| <= atol + rtol*|expected| for every element if either is given.

    Where zeros are expected throughout, the first is a bound on each element.

    atol and rtol map an output's name, or "" for every output, to a bound. layers has the inner tensors whose relative
    L2 may be larger than LAYER_FACTOR times that of outputs: those of a model in int8, whose outputs average the noise.
    """

    relative_l2: float
    atol: Mapping[str, float] = field(default_factory=dict)
    rtol: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, float] = field(default_factory=dict)

    def of_layer(self, tensor: str) -> float:
        """The bound on the relative L2 of an inner tensor, and of each region of it."""
        return max(LAYER_FACTOR * self.relative_l2, self.layers.get(tensor, 0.0))

    def failure(self, output: str, difference: Difference, expected: Array, actual: Array) -> str | None:
        """Why this output exceeds the tolerance, None if it does not."""
        if not difference.relative_l2 <= self.relative_l2 and not self.passes_as_zeros(expected, actual):
            return f"{output}: relative L2 {difference.relative_l2:.1e}, allowed {bound_text(self.relative_l2)}"
        atol, rtol = _bound(self.atol, output), _bound(self.rtol, output)
        if atol is None and rtol is None:
            return None
        wanted, got = expected.astype(np.float64), actual.astype(np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf, 0 * inf
            outside = ~(np.abs(got - wanted) <= (atol or 0.0) + (rtol or 0.0) * np.abs(wanted))
        outside &= ~((wanted == got) | (np.isnan(wanted) & np.isnan(got)))
        if not outside.any():
            return None
        return (
            f"{output}: {int(outside.sum())} of {outside.size} elements outside atol {atol or 0:g}, rtol {rtol or 0:g}"
        )

    def passes_as_zeros(self, expected: Array, actual: Array) -> bool:
        """Whether zeros are expected throughout, and no element is larger than relative_l2.

        Rounding around zero has no relative size: a variance of equal numbers may be 1e-15.
        """
        return not np.any(expected) and bool(np.abs(actual.astype(np.float64)).max(initial=0.0) <= self.relative_l2)

    def as_dict(self) -> dict[str, float]:
        """For the manifest: relative_l2; atol and rtol if given, "atol:NAME" for one output; "layer:TENSOR"."""
        named = {"relative_l2": self.relative_l2}
        named.update({f"layer:{tensor}": value for tensor, value in self.layers.items()})
        for kind, bounds in (("atol", self.atol), ("rtol", self.rtol)):
            named.update({f"{kind}:{output}" if output else kind: value for output, value in bounds.items()})
        return named

    @classmethod
    def from_dict(cls, entries: Mapping[str, float]) -> Tolerance:
        """The inverse of `as_dict`; a missing relative_l2 is 0."""
        bounds: dict[str, dict[str, float]] = {"atol": {}, "rtol": {}, "layer": {}}
        for key, value in entries.items():
            kind, _, name = key.partition(":")
            if kind in bounds:
                bounds[kind][name] = value
        return cls(entries.get("relative_l2", 0.0), bounds["atol"], bounds["rtol"], bounds["layer"])


def bound_text(bound: float) -> str:
    """A bound for a message: 1e-05, and 2.9e-02 where one digit would round it."""
    short = f"{bound:.0e}"
    return short if float(short) == float(f"{bound:.1e}") else f"{bound:.1e}"


def _bound(bounds: Mapping[str, float], output: str) -> float | None:
    return bounds.get(output, bounds.get(""))
