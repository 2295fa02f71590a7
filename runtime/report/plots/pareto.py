"""The plot of a search: latency against quality, one disc a candidate, the Pareto front joined, the choice marked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rectexport.runtime.report.documents import Tried, Tuning
from rectexport.runtime.report.scale import Axis
from rectexport.runtime.report.svg import Element, element, rendered
from rectexport.runtime.report.text import file_size, milliseconds, short

WIDTH, HEIGHT = 900.0, 420.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 20.0, 26.0, 44.0
SMALLEST, LARGEST = 5.0, 16.0
#: Most candidates drawn; a search has tens.
MOST = 500
#: Metrics that end at 100.
PERCENTAGES = ("top1", "top5", "miou")


def pareto_plot(tuning: Tuning) -> str:
    """The plot as inline SVG; empty where nothing was timed."""
    shown = [entry for entry in tuning.candidates[:MOST] if _finite(entry.p50) and _finite(entry.quality)]
    if not shown:
        return ""
    across = Axis.over([entry.p50 for entry in shown if entry.p50 is not None])
    most = 100.0 if tuning.quality in PERCENTAGES else math.inf
    up = Axis.over([entry.quality for entry in shown if entry.quality is not None], most)
    parts = [*_grid(across, up), *_names(tuning.quality), *_front(shown, across, up)]
    largest = max(entry.size for entry in shown)
    for entry in sorted(shown, key=lambda entry: (entry.name == tuning.chosen, -entry.size)):
        parts.append(_disc(entry, entry.name == tuning.chosen, largest, across, up))
    frame = {"viewBox": f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", "class_": "pareto"}
    label = f"Latency against {tuning.quality} of {len(shown)} candidates; chosen: {tuning.chosen}"
    return rendered(element("svg", *parts, role="img", aria_label=short(label, 400), **frame))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _x(axis: Axis, value: float | None) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * axis.place(value or 0.0)


def _y(axis: Axis, value: float | None) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.place(value or 0.0)


def _grid(across: Axis, up: Axis) -> list[Element]:
    parts = []
    for tick in across.ticks():
        x = _x(across, tick)
        parts.append(element("path", class_="line", d=f"M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"))
        parts.append(element("text", milliseconds(tick), class_="tick across", x=x, y=HEIGHT - BOTTOM + 16))
    for tick in up.ticks():
        y = _y(up, tick)
        parts.append(element("path", class_="line", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}"))
        parts.append(element("text", f"{tick:.6g}", class_="tick up", x=LEFT - 8, y=y + 4))
    return parts


def _names(quality: str) -> list[Element]:
    return [
        element("text", "median of a call", class_="name across", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6),
        element("text", short(quality, 40), class_="name", x=6, y=14.0),
    ]


def _front(shown: Sequence[Tried], across: Axis, up: Axis) -> list[Element]:
    """Steps through the candidates that no other one beats in these two figures."""
    steps: list[tuple[float, float]] = []
    for entry in sorted(shown, key=lambda entry: (entry.p50 or 0.0, -(entry.quality or 0.0))):
        point = _x(across, entry.p50), _y(up, entry.quality)
        if entry.state != "refused" and (not steps or point[1] < steps[-1][1]):
            steps.append(point)
    if len(steps) < 2:
        return []
    path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in steps[1:])
    return [element("path", class_="front", d=path)]


def _disc(entry: Tried, chosen: bool, largest: float, across: Axis, up: Axis) -> Element:
    radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(max(entry.size, 0.0) / largest) if largest > 0 else SMALLEST
    x, y = _x(across, entry.p50), _y(up, entry.quality)
    words = f"{entry.name}: {milliseconds(entry.p50)}, {entry.quality:.4g}, {file_size(int(entry.size))}"
    kind = "chosen" if chosen else "kept" if entry.front else "other"
    parts = [element("title", words), element("circle", cx=x, cy=y, r=radius)]
    if chosen:
        left = x > WIDTH * 0.6
        place = x - radius - 6 if left else x + radius + 6
        parts.append(element("text", short(entry.name, 60), x=place, y=y + 4, text_anchor="end" if left else "start"))
    return element("g", *parts, class_=f"candidate {kind}")
