"""How far two packages' answers to one request are from each other, by region of the image plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.metrics import REGIONS, compare, compare_regions, has_regions, region_masks
from rectexport.runtime.base.runner import Array

#: Columns of `distances`: the whole tensor, then its regions.
COLUMNS = ("all", *REGIONS)


def distances(expected: Mapping[str, Array], actual: Mapping[str, Array], names: Sequence[str]) -> NDArray[np.float64]:
    """[outputs, columns] in the order of `names` and COLUMNS; NaN for a region that an output does not have.

    Floating-point numbers: the relative L2 distance, with regions for [N, C, H, W]; infinite where only one of two
    numbers is finite. Integers and booleans: the share of elements that differ, with regions for [N, H, W] and
    [N, C, H, W]. Another shape is an infinite distance.
    """
    found = np.full((len(names), len(COLUMNS)), np.nan)
    for row, name in zip(found, names, strict=True):
        wanted, got = expected[name], actual[name]
        if wanted.shape != got.shape:
            row[0] = np.inf
        elif wanted.size:
            by_column = _of_floats(wanted, got) if wanted.dtype.kind == "f" else _of_integers(wanted, got)
            row[:] = [by_column.get(column, np.nan) for column in COLUMNS]
    return found


def _of_floats(wanted: Array, got: Array) -> dict[str, float]:
    if not has_regions(wanted):
        return {"all": compare(wanted, got).relative_l2}
    whole, regions = compare_regions(wanted, got)
    return {"all": whole.relative_l2, **{name: value.relative_l2 for name, value in regions.items()}}


def _of_integers(wanted: Array, got: Array) -> dict[str, float]:
    unequal = wanted != got
    found = {"all": float(unequal.mean())}
    if wanted.ndim in (3, 4):
        masks = region_masks(wanted.shape[-2:]).items()
        found |= {name: float(unequal[..., mask].mean()) for name, mask in masks if mask.any()}
    return found
