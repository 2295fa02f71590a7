"""Draws where two tensors differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.metrics import Difference, compare, compare_regions
from rectexport.runtime.base.runner import Array

_RING = {
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgecolor": "#00a0ff",
    "markeredgewidth": 2,
    "clip_on": False,
}


def draw_heat_map(path: Path, title: str, expected: Array, actual: Array) -> None:
    """Write the figure of `heat_map` as a PNG. Raises as it does, and BadInput when the file cannot be written."""
    figure = heat_map(title, expected, actual)
    with replaced_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def heat_map(title: str, expected: Array, actual: Array) -> Any:
    """Three panels: the worst element's plane, expected and actual, and each pixel's largest error over rows, channels.

    Tensors that are not [N, C, H, W] are drawn as one plane [rows, all other axes]. Returns a matplotlib Figure. Raises
    MissingDependency without matplotlib, ValueError when the shapes differ or the tensors are empty.
    """
    figures, colors = require("matplotlib.figure"), require("matplotlib.colors")
    wanted, got = (_as_images(np.asarray(array, np.float64)) for array in (expected, actual))
    difference = compare(wanted, got)
    worst = difference.worst
    row, channel, *at = worst.index if worst else (0, 0, 0, 0)
    error = _errors(wanted, got)
    figure = figures.Figure(figsize=(13, 4.6), layout="constrained")
    figure.suptitle(f"{title}\n{_summary(expected, actual, difference)}", fontsize=10)
    left, middle, right = figure.subplots(1, 3)
    planes = wanted[row, channel], got[row, channel]
    scale = colors.Normalize(*_limits(planes))
    where = f"row {row}, channel {channel}" if expected.ndim == 4 else "all elements"
    for axes, plane, name in ((left, planes[0], "expected"), (middle, planes[1], "actual")):
        _show(figure, axes, plane, f"{name}, {where}", "value", norm=scale, cmap="viridis")
    over = "over rows and channels" if expected.ndim == 4 else "at each element"
    _show(figure, right, *_error_plane(error, over), "error", norm=_logarithmic(error, colors), cmap="magma")
    for axes in (left, middle, right):
        axes.set_xlabel("column, pixels" if expected.ndim == 4 else "element", fontsize=8)
    left.set_ylabel("row, pixels" if expected.ndim == 4 else "row of the batch", fontsize=8)
    for axes in (left, middle, right) if worst else ():
        axes.plot(at[1], at[0], "o", **_RING)
    return figure


def _as_images(array: NDArray[np.float64]) -> NDArray[np.float64]:
    if array.ndim == 4:
        return array
    return array.reshape(1, 1, array.shape[0] if array.ndim > 1 else 1, -1)


def _errors(wanted: NDArray[np.float64], got: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest error at each pixel, [H, W]; if only one side is finite, ten times the largest error elsewhere."""
    with np.errstate(invalid="ignore"):
        error = np.where((wanted == got) | (np.isnan(wanted) & np.isnan(got)), 0.0, np.abs(got - wanted))
    finite = np.isfinite(error)
    beyond = 10 * error[finite].max(initial=0.0) or 1.0
    largest: NDArray[np.float64] = np.where(finite, error, beyond).max(axis=(0, 1))
    return largest


def _summary(expected: Array, actual: Array, difference: Difference) -> str:
    whole, regions = compare_regions(expected, actual) if expected.ndim == 4 else (difference, {})
    parts = [f"relative L2: all {whole.relative_l2:.1e}"]
    parts += [f"{name} {value.relative_l2:.1e}" for name, value in regions.items()]
    worst = compare(expected, actual).worst
    return ", ".join(parts) + (f"\nworst (ringed) {worst}" if worst else "\nequal everywhere")


def _limits(planes: tuple[NDArray[np.float64], ...]) -> tuple[float, float]:
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def _error_plane(error: NDArray[np.float64], over: str) -> tuple[NDArray[np.float64], str]:
    """The errors and a title. Equal pixels are blank: the logarithm of 0 cannot be drawn."""
    blank = bool((error == 0).any())
    title = f"largest |actual − expected| {over}" + (", blank: equal" if blank else "")
    return np.where(error == 0, np.nan, error), title


def _logarithmic(error: NDArray[np.float64], colors: Any) -> Any:
    seen = error[np.isfinite(error) & (error > 0)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (1.0, 10.0)
    return colors.LogNorm(low, high if high > low else low * 10)


def _show(figure: Any, axes: Any, plane: NDArray[np.float64], title: str, scale: str, **style: Any) -> None:
    aspect = "equal" if max(plane.shape) < 8 * min(plane.shape) else "auto"
    image = axes.imshow(plane, interpolation="nearest", aspect=aspect, **style)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.05)  # beside the ring of an element at the edge
    bar.set_label(scale, fontsize=8)
    bar.ax.tick_params(labelsize=8)
