"""An icicle plot of a profile: a row for each depth of the PyTorch modules, the engine's layers in the last row.

The width of a box is its time. A module's box stands above those of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rectexport.runtime.report.documents import Profiled, ProfiledLayer
from rectexport.runtime.report.svg import Element, element, rendered
from rectexport.runtime.report.text import milliseconds, short

WIDTH, ROW, GAP = 1000.0, 26.0, 1.0
#: Narrower boxes are left out; their module's box shows them.
LEAST_WIDTH = 0.6
#: Most boxes, the widest ones.
MOST_BOXES = 400
#: Most rows of modules: an untrusted document may nest them as deep as it likes.
MOST_ROWS = 12
CHARACTER = 6.6
#: Colours of the boxes: what bounds a layer, a conversion between layouts, time outside of layers, a module.
BOUNDS = ("compute", "memory", "overhead")
REORDER, OUTSIDE, MODULE = "reorder", "outside", "module"


@dataclass
class _Box:
    """A module, a layer, or time outside of layers, with its parts by name."""

    label: str
    kind: str
    ms: float = 0.0
    told: str = ""
    parts: dict[str, _Box] = field(default_factory=dict)


def icicle(profile: Profiled, most: int = MOST_BOXES) -> str:
    """The plot as inline SVG, of about `most` boxes, the widest ones; empty for a profile without times."""
    tree = _tree(profile)
    total = sum(part.ms for part in tree.parts.values())
    if not (math.isfinite(total) and total > 0):
        return ""
    drawn: list[Element] = []
    widest = sorted((box.ms for box in _walk(tree)), reverse=True)[:most]
    least = max(LEAST_WIDTH, widest[-1] * WIDTH / total)
    depth = _draw(list(tree.parts.values()), 0.0, WIDTH / total, 0, least, drawn)
    label = f"{profile.description}: {milliseconds(profile.wall)} a run, by module and layer"
    frame = {"viewBox": f"0 0 {WIDTH:.0f} {depth * ROW:.0f}", "class_": "icicle"}
    return rendered(element("svg", *drawn, role="img", aria_label=short(label, 400), **frame))


def _tree(profile: Profiled) -> _Box:
    root = _Box("", MODULE)
    for index, layer in enumerate(profile.layers):
        if not (math.isfinite(layer.ms) and layer.ms > 0):
            continue
        place = root
        for name in _path(layer.module):
            place = place.parts.setdefault(name, _Box(name, MODULE))
            place.ms += layer.ms
        place.parts[f"{index}"] = _Box(layer.name, _kind(layer), layer.ms, _told(layer))
    for name, ms in profile.outside.items():
        if math.isfinite(ms) and ms > 0:
            root.parts[f" {name}"] = _Box(name, OUTSIDE, ms)
    return root


def _walk(box: _Box) -> Iterator[_Box]:
    """All boxes below this one."""
    for part in box.parts.values():
        yield part
        yield from _walk(part)


def _path(module: str) -> list[str]:
    parts = [part for part in module.split(".") if part][:MOST_ROWS]
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _kind(layer: ProfiledLayer) -> str:
    return REORDER if layer.reorder else layer.bound if layer.bound in BOUNDS else OUTSIDE


def _told(layer: ProfiledLayer) -> str:
    made = f", made by {', '.join(layer.passes)}" if layer.passes else ""
    return f"{layer.bound or 'unknown'}{made}"


def _draw(boxes: Sequence[_Box], left: float, scale: float, row: int, least: float, drawn: list[Element]) -> int:
    """Draw boxes side by side and their parts below; returns the number of rows."""
    depth = row + 1
    for box in boxes:
        width = box.ms * scale
        if width >= least:
            drawn.append(_box(box, left, width, row))
            if box.parts:
                depth = max(depth, _draw(list(box.parts.values()), left, scale, row + 1, least, drawn))
        left += width
    return depth


def _box(box: _Box, left: float, width: float, row: int) -> Element:
    words = f"{box.label}: {milliseconds(box.ms)}"
    parts = [
        element("title", f"{words} ({box.told})" if box.told else words),
        element("rect", x=left, y=row * ROW, width=max(width - GAP, LEAST_WIDTH), height=ROW - GAP, rx=2),
    ]
    room = int((width - 8) / CHARACTER)
    if room >= 3:
        own = box.label.rpartition(".")[2] if box.kind == MODULE else box.label
        parts.append(element("text", short(own, room), x=left + 4, y=row * ROW + ROW / 2 + 4))
    return element("g", *parts, class_=f"box {box.kind}")
