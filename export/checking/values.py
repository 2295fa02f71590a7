"""Feeds that show differences an ordinary example hides: other signs, zeros, larger numbers, whole integer ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rectexport.exporter.frontend.inputs import SEED, InputPlan, fit_example
from rectexport.runtime.base.runner import Array

#: Values this much larger than the example's, by case: functions that go to a limit do so in part, and altogether.
#: Sums still fit in float32, saturating arithmetic does not.
LARGER = {"tenfold": 10, "large": 100}
#: About the rounding of float32, relative to an element and for elements near zero.
ROUNDING = 1e-6


def value_cases(inputs: Sequence[InputPlan]) -> dict[str, dict[str, Array]]:
    """Feeds by label, of the smallest shapes: negated, zeros, tenfold, large; range where an input takes integers.

    range draws integers over the whole range of their dtype, its ends included.
    """
    base = {entry.name: fit_example(entry.example, entry.range.min) for entry in inputs}
    cases = {
        "negated": {name: _negated(array) for name, array in base.items()},
        "zeros": {name: np.zeros_like(array) for name, array in base.items()},
    }
    for label, factor in LARGER.items():
        cases[label] = {name: _scaled(array, factor) for name, array in base.items()}
    if any(array.dtype.kind in "iu" for array in base.values()):
        cases["range"] = {name: _over_range(array, SEED + index) for index, (name, array) in enumerate(base.items())}
    return {label: feeds for label, feeds in cases.items() if not _equal(feeds, base)}


def nudged(feeds: Mapping[str, Array]) -> dict[str, Array] | None:
    """The feeds with every float moved by about its rounding; None where all are integers."""
    if all(array.dtype.kind != "f" for array in feeds.values()):
        return None
    generator = np.random.default_rng(SEED)
    return {name: _moved(array, generator) if array.dtype.kind == "f" else array for name, array in feeds.items()}


def _moved(array: Array, generator: np.random.Generator) -> Array:
    exact = array.astype(np.float64)
    step = ROUNDING * generator.uniform(-1, 1, array.shape)
    return np.asarray(exact + step * (1 + np.abs(exact)), array.dtype)


def _negated(array: Array) -> Array:
    if array.dtype == bool:
        return np.asarray(np.logical_not(array))
    return np.asarray(np.negative(array)) if array.dtype.kind == "f" else array


def _scaled(array: Array, factor: int) -> Array:
    return np.asarray(array * array.dtype.type(factor), array.dtype) if array.dtype.kind == "f" else array


def _over_range(array: Array, seed: int) -> Array:
    if array.dtype.kind not in "iu":
        return array
    limits = np.iinfo(array.dtype.name)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(limits.min, limits.max, array.shape, dtype=array.dtype, endpoint=True)
    drawn.flat[: min(2, drawn.size)] = np.array([limits.min, limits.max], array.dtype)[: drawn.size]
    return drawn


def _equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)
