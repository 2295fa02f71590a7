"""One style for the plots of docs/: colours that colour-blind readers can tell apart, no frames, names beside the data.

Colours: Okabe and Ito, Color Universal Design (2008), without their yellow, which is too light for a thin mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

INK, QUIET, GRID = "#1b1f24", "#5c6670", "#dfe3e6"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
#: One marker for each colour: a plot printed in grey can be read too.
MARKERS = ("o", "s", "D", "^", "v", "P")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.color": INK,
}


def new_figure(rows: int, columns: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, Any]:
    """A figure with rows × columns panels, [rows, columns]; size in inches; shared: sharex, sharey, width_ratios, …"""
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def set_title(axes: Any, text: str) -> None:
    """What a panel shows, at its left."""
    axes.set_title(text, loc="left", fontsize=10, color=INK)


def save_svg(figure: Figure, path: Path) -> None:
    """Write a plot on white; equal figures give equal bytes."""
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def legend_of(figure: Figure, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """The marks of a plot with their names, in one line above the panels."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], linestyle="none", **{"linewidth": 0, **style}) for style in entries.values()]
    figure.legend(marks, list(entries), loc="outside upper left", ncols=len(entries), frameon=False, fontsize=9)


def name_ends(axes: Any, ends: Mapping[str, tuple[float, str]], place: float, step: float) -> None:
    """Name each line at its end: name -> (value, colour); names that would cover each other move apart, upwards."""
    lowest = float("-inf")
    for name, (value, colour) in sorted(ends.items(), key=lambda entry: entry[1][0]):
        height = max(value, lowest)
        axes.annotate(name, (place, height), color=colour, fontsize=8.5, va="center")
        lowest = height + step
