"""Checks that outputs are finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rectexport.runtime.arrays.kinds import AnyLibrary
from rectexport.runtime.errors import NotFinite


def check_finite(library: AnyLibrary, feeds: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Raise NotFinite that names the first output with NaN or infinity, and the inputs that hold some.

    Also raise it if an input holds NaN and no output does: in many engines, ReLU and max pooling drop NaN because their
    maximum of NaN and a number is the number.
    """
    isfinite, isnan = library.xp.isfinite, library.xp.isnan
    for name, value in results.items():
        said = _where(~isfinite(value), "NaN or infinite")
        if said:
            inputs = [(f"input {key}", _where(~isfinite(feed), "NaN or infinite")) for key, feed in feeds.items()]
            bad = [f"{key} has {found}" for key, found in inputs if found]
            raise NotFinite(f"output {name} has {said}; {', '.join(bad) or 'all inputs are finite'}")
    for name, value in feeds.items():
        said = _where(isnan(value), "NaN")
        if said:
            raise NotFinite(f"input {name} has {said}, but the outputs are finite: the engine dropped it")


def _where(mask: Any, kind: str) -> str | None:
    """How many elements the mask selects, and the index of the first; None if it selects none."""
    if not bool(mask.any()):
        return None
    flat = mask.reshape(-1)
    first = int((flat * 1).argmax())  # times one: PyTorch has no argmax of booleans
    index = [int(position) for position in np.unravel_index(first, tuple(mask.shape))]
    return f"{int(flat.sum())} of {flat.shape[0]} elements {kind}, the first at {index}"
