"""Violin plots of latency: one violin for each contestant, one plot for each batch size and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.report.documents import Contestant
from rectexport.runtime.report.scale import Axis
from rectexport.runtime.report.svg import element, rendered
from rectexport.runtime.report.text import milliseconds, short

WIDTH, HEIGHT = 1000, 40
POINTS = 120
#: Percentile above which samples are not plotted (the table has p99): a single stall would stretch the axis.
SHOWN = 99.0


@dataclass(frozen=True)
class Violin:
    """One contestant and its violin, as SVG."""

    contestant: Contestant
    svg: str


@dataclass(frozen=True)
class Plot:
    """Contestants on a common axis; ticks are labels and places in percent."""

    title: str
    violins: tuple[Violin, ...]
    ticks: tuple[tuple[str, str], ...]
    logarithmic: bool


def plots(contestants: Sequence[Contestant]) -> list[Plot]:
    """A plot for each batch size and shape."""
    groups: dict[tuple[int, str], list[Contestant]] = {}
    for entry in contestants:
        groups.setdefault((entry.batch, entry.shape), []).append(entry)
    return [_plot(batch, shape, group) for (batch, shape), group in groups.items()]


def _plot(batch: int, shape: str, group: Sequence[Contestant]) -> Plot:
    shown = [value for entry in group for value in (*_shown(entry), entry.median)]
    axis = Axis.over([value for value in shown if np.isfinite(value)] or [0.0, 1.0])
    violins = tuple(Violin(entry, _violin(entry, axis)) for entry in group)
    ticks = tuple((milliseconds(tick), f"{100 * axis.place(tick):.2f}") for tick in axis.ticks())
    return Plot(f"batch {batch}" + (f", {short(shape, 60)}" if shape else ""), violins, ticks, axis.logarithmic)


def _shown(entry: Contestant) -> NDArray[np.float64]:
    samples = np.asarray(entry.samples, np.float64)
    samples = samples[np.isfinite(samples)]
    return samples if samples.size < 50 else samples[samples <= np.percentile(samples, SHOWN)]


def _violin(entry: Contestant, axis: Axis) -> str:
    places = np.array([axis.place(value) for value in _shown(entry)])
    parts = []
    if places.size > 1:
        parts.append(element("path", class_="violin", d=_outline(places)))
    median = WIDTH * axis.place(entry.median)
    parts.append(element("path", class_="median", d=f"M{median:.1f} 0V{HEIGHT}"))
    if entry.p90 is not None and axis.low <= entry.p90 <= axis.high:
        parts.append(element("path", class_="p90", d=f"M{WIDTH * axis.place(entry.p90):.1f} {HEIGHT / 4}v{HEIGHT / 2}"))
    label = f"{short(entry.name)}: median {milliseconds(entry.median)}"
    frame = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "preserveAspectRatio": "none"}
    return rendered(element("svg", *parts, role="img", aria_label=label, **frame))


def _outline(places: NDArray[np.float64]) -> str:
    """The outline of a violin: a kernel density estimate (Gaussian, Silverman's bandwidth), mirrored."""
    spread = min(float(places.std()), float(np.subtract(*np.percentile(places, [75, 25]))) / 1.34 or np.inf)
    width = max(0.9 * spread * places.size**-0.2, 0.002)
    grid = np.linspace(max(places.min() - 3 * width, 0), min(places.max() + 3 * width, 1), POINTS)
    density = np.exp(-0.5 * ((grid[:, None] - places[None, :]) / width) ** 2).sum(axis=1)
    half = density / density.max() * (HEIGHT / 2 - 1)
    upper = [f"{WIDTH * x:.1f} {HEIGHT / 2 - y:.1f}" for x, y in zip(grid, half, strict=True)]
    lower = [f"{WIDTH * x:.1f} {HEIGHT / 2 + y:.1f}" for x, y in zip(grid[::-1], half[::-1], strict=True)]
    return f"M{'L'.join([*upper, *lower])}z"
