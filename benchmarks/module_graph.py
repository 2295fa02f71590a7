"""Draw which folders of the package import which others; writes docs/modules.svg.

python -m benchmarks.module_graph

A room is a folder or a single module directly under one of the package's parts. Every import statement counts, also
inside functions and for types only. The picture's <metadata> holds the data, which a test compares with the code.
"""

from __future__ import annotations

import ast
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "modules.svg"
#: Part -> its folder and the name under which it is imported; later parts may not import earlier ones.
PARTS = {
    "cli": ("rectexport/cli", "rectexport.cli"),
    "export": ("export", "rectexport.exporter"),
    "models": ("models", "rectexport.models"),
    "plugins": ("plugins", "rectexport.plugins"),
    "runtime": ("runtime", "rectexport.runtime"),
}
COLOURS = {"cli": "#7a4fa3", "export": "#1f6fb5", "models": "#2e8540", "plugins": "#8a6d00", "runtime": "#b5541f"}
#: Parts side by side, from top to bottom.
BANDS = (("cli",), ("export",), ("models", "plugins"), ("runtime",))
WIDTH, LEFT, GAP = 1200, 190, 46
BOX_WIDTH, BOX_HEIGHT, ROW, TITLE, INSET = 100, 46, 62, 40, 22
PLUGINS_WIDTH = 150
#: Letters of a room's name that fit its box in the large font.
LONG_LABEL = 10

Room = str  # part/room


@dataclass(frozen=True)
class Graph:
    """Modules per room, and imports per pair of rooms (importing, imported) and of parts."""

    modules: dict[Room, int]
    imports: dict[tuple[Room, Room], int]
    between_parts: dict[tuple[str, str], int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"modules": self.modules, "imports": [[*pair, count] for pair, count in sorted(self.imports.items())]}

    def rooms(self, part: str) -> list[Room]:
        """The rooms of a part."""
        return [room for room in self.modules if room.startswith(f"{part}/")]

    def cyclic(self, first: Room, second: Room) -> bool:
        """Whether both rooms lie on one cycle."""
        return second in self.reached(first) and first in self.reached(second)

    def reached(self, start: Room) -> set[Room]:
        """Rooms that a room imports, directly or not."""
        found: set[Room] = set()
        pending = [start]
        while pending:
            room = pending.pop()
            new = {imported for importer, imported in self.imports if importer == room} - found
            found |= new
            pending.extend(new)
        return found


def read_graph(root: Path = ROOT) -> Graph:
    """Read the imports of every module of the package."""
    places = {name: (part, path) for part in PARTS for name, path in _modules(root, part)}
    rooms = {name: _room(part, name) for name, (part, _) in places.items()}
    imports: Counter[tuple[Room, Room]] = Counter()
    parts: Counter[tuple[str, str]] = Counter()
    for name, (part, path) in places.items():
        for imported in _imports(path, places):
            other, mine, theirs = places[imported][0], rooms[name], rooms[imported]
            if part != other:
                parts[part, other] += 1
            if mine and theirs and mine != theirs:
                imports[mine, theirs] += 1
    counts = Counter(room for room in rooms.values() if room)
    return Graph(dict(sorted(counts.items())), dict(imports), dict(parts))


def _modules(root: Path, part: str) -> Iterator[tuple[str, Path]]:
    folder, package = root / PARTS[part][0], PARTS[part][1]
    for path in sorted(folder.rglob("*.py")):
        names = [name for name in path.relative_to(folder).with_suffix("").parts if name != "__init__"]
        yield ".".join([package, *names]), path


def _room(part: str, module: str) -> Room | None:
    """None for the part's own __init__.py."""
    rest = module.removeprefix(PARTS[part][1]).split(".")[1:]
    return f"{part}/{rest[0]}" if rest else None


def _imports(path: Path, known: Mapping[str, Any]) -> Iterator[str]:
    """Modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names = {name if name in known else node.module for name in inner}
        yield from names & known.keys()


@dataclass
class Layout:
    """Positions in pixels: upper left corners of rooms, and left, top, width and height of parts."""

    rooms: dict[Room, tuple[float, float]] = field(default_factory=dict)
    parts: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    height: float = 0


def arrange(graph: Graph) -> Layout:
    """Place parts in bands, and rooms in columns: a room stands left of those that it imports."""
    layout, top = Layout(), 86.0
    for band in BANDS:
        columns = {part: _columns(graph, part) for part in band}
        rows = max(len(column) for part in band for column in columns[part])
        height = TITLE + rows * ROW + 8
        left = float(LEFT)
        for part in band:
            width = _width(part, band)
            layout.parts[part] = (left, top, width, height)
            _place(layout, columns[part], (left, top + TITLE, width, height - TITLE))
            left += width + 20
        top += height + GAP
    layout.height = top - GAP + 20
    return layout


def _width(part: str, band: tuple[str, ...]) -> float:
    whole = float(WIDTH - LEFT - 20)
    if len(band) == 1:
        return whole
    return PLUGINS_WIDTH if part == "plugins" else whole - PLUGINS_WIDTH - 20


def _columns(graph: Graph, part: str) -> list[list[Room]]:
    """Rooms by level, the highest first; in a column, rooms stand near those of the next column that they import."""
    levels = _levels(graph, part)
    columns = [[room for room in levels if levels[room] == number] for number in range(max(levels.values()) + 1)]
    for imported, column in pairwise(columns):
        column.sort(key=lambda room: _middle(graph, room, imported))
    return columns[::-1]


def _levels(graph: Graph, part: str) -> dict[Room, int]:
    """Length of the longest chain of imports that starts at a room; one that imports none stands near its importers."""
    rooms = graph.rooms(part)
    pairs = [(a, b) for a, b in graph.imports if a in rooms and b in rooms and not graph.cyclic(a, b)]
    levels: dict[Room, int] = {}

    def level(room: Room) -> int:
        if room not in levels:
            levels[room] = 1 + max((level(b) for a, b in pairs if a == room), default=-1)
        return levels[room]

    for room in rooms:
        level(room)
    near = {room: min((levels[a] - 1 for a, b in pairs if b == room), default=0) for room in rooms}
    return {room: level or near[room] for room, level in levels.items()}


def _middle(graph: Graph, room: Room, column: list[Room]) -> float:
    rows = [row for row, other in enumerate(column) if (room, other) in graph.imports]
    return sum(rows) / len(rows) if rows else len(column) / 2


def _place(layout: Layout, columns: list[list[Room]], area: tuple[float, float, float, float]) -> None:
    left, top, width, height = area
    step = (width - 2 * INSET - BOX_WIDTH) / max(len(columns) - 1, 1)
    for number, column in enumerate(columns):
        x = left + INSET + number * step if len(columns) > 1 else left + (width - BOX_WIDTH) / 2
        free = height - len(column) * ROW
        for row, room in enumerate(column):
            layout.rooms[room] = (x, top + free / 2 + row * ROW)


def draw(graph: Graph) -> str:
    """The picture as SVG."""
    layout = arrange(graph)
    inner = [pair for pair in graph.imports if _part(pair[0]) == _part(pair[1])]
    inner.sort(key=lambda pair: (graph.cyclic(*pair), not _implied(graph, pair), pair))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {layout.height:.0f}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<metadata>{escape(json.dumps(graph.as_dict()), quote=False)}</metadata>",
        "<title>Imports between the folders of rectexport</title>",
        _defs(),
        f'<rect width="{WIDTH}" height="{layout.height:.0f}" fill="#ffffff"/>',
        *_legend(graph),
        *(_part_box(part, place) for part, place in layout.parts.items()),
        *_rails(graph, layout),
        *(_arrow(graph, layout, pair) for pair in inner),
        *(_room_box(graph, room, place) for room, place in layout.rooms.items()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _part(room: Room) -> str:
    return room.partition("/")[0]


def _implied(graph: Graph, pair: tuple[Room, Room]) -> bool:
    """Whether the importing room reaches the imported one through a third, too."""
    first, last = pair
    between = [b for a, b in graph.imports if a == first and b != last]
    return any(last in graph.reached(room) for room in between)


def _defs() -> str:
    heads = {"dark": "#333333", "light": "#b9b9b9", "red": "#d0021b"}
    markers = [
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in heads.items()
    ]
    return f"<defs>{''.join(markers)}</defs>"


def _legend(graph: Graph) -> list[str]:
    modules, imports = sum(graph.modules.values()), sum(graph.imports.values())
    cycles = sum(graph.cyclic(*pair) for pair in graph.imports)
    red = f"{cycles} arrows on cycles, in red" if cycles else "no cycles (they would be red)"
    first = f"{modules} modules, {imports} imports between folders, {red}"
    second = "An arrow points from a folder to one that it imports, and is the wider the more imports there are. "
    third = "Grey arrows repeat a chain of dark ones."
    return [_text(20, 30, first, 20, weight="bold"), _text(20, 58, second + third, 16)]


def _text(x: float, y: float, text: str, size: int, anchor: str = "start", weight: str = "normal", **more: str) -> str:
    extra = "".join(f' {name}="{value}"' for name, value in more.items())
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}{extra}>{escape(text, quote=False)}</text>'


def _part_box(part: str, place: tuple[float, float, float, float]) -> str:
    x, y, width, height = place
    colour = COLOURS[part]
    box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="10" fill="{colour}"'
    title = _text(x + 14, y + 26, f"{PARTS[part][0]}/", 19, fill=colour, weight="bold")
    return f'{box} fill-opacity="0.07" stroke="{colour}"/>{title}'


def _room_box(graph: Graph, room: Room, place: tuple[float, float]) -> str:
    (x, y), colour, count = place, COLOURS[_part(room)], graph.modules[room]
    box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="#ffffff"'
    middle = x + BOX_WIDTH / 2
    label = f"{count} modules" if count > 1 else "1 module"
    label = room.partition("/")[2]
    name = _text(middle, y + 20, label, 16 if len(label) <= LONG_LABEL else 13, "middle", "bold")
    size = _text(middle, y + 38, label, 13, "middle", fill="#555555")
    return f'{box} stroke="{colour}" stroke-width="1.5"/>{name}{size}'


def _stroke(count: int) -> float:
    return 0.8 + 0.75 * math.log2(count)


def _arrow(graph: Graph, layout: Layout, pair: tuple[Room, Room]) -> str:
    (x1, y1), (x2, y2) = (layout.rooms[room] for room in pair)
    start, end = (x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2), (x2 - 1, y2 + BOX_HEIGHT / 2)
    colour, head = ("#333333", "dark")
    if graph.cyclic(*pair):
        colour, head = "#d0021b", "red"
    elif _implied(graph, pair):
        colour, head = "#b9b9b9", "light"
    bend = max(abs(end[0] - start[0]) / 2, 30)
    path = f"M{start[0]:.0f} {start[1]:.0f}C{start[0] + bend:.0f} {start[1]:.0f} {end[0] - bend:.0f} {end[1]:.0f} "
    title = f"<title>{pair[0]} imports {pair[1]} {graph.imports[pair]} times</title>"
    style = f'stroke="{colour}" stroke-width="{_stroke(graph.imports[pair]):.1f}" marker-end="url(#{head})"'
    return f'<path d="{path}{end[0]:.0f} {end[1]:.0f}" fill="none" {style}>{title}</path>'


def _rails(graph: Graph, layout: Layout) -> list[str]:
    """Imports between parts: one arrow per pair, along the left edge, with their number at its start."""
    order = list(PARTS)
    pairs = sorted(graph.between_parts, key=lambda pair: (abs(order.index(pair[0]) - order.index(pair[1])), pair))
    lines = []
    for number, (first, last) in enumerate(pairs):
        count, x = graph.between_parts[first, last], LEFT - 50 - 24 * number
        backwards = order.index(last) < order.index(first)
        colour, head = ("#d0021b", "red") if backwards else (COLOURS[first], "dark")
        (x1, y1, _, h1), (x2, y2, _, _) = layout.parts[first], layout.parts[last]
        start = y1 + h1 - 16 - 28 * sum(pair[0] == first for pair in pairs[:number])
        end = y2 + 24 + 20 * sum(pair[1] == last for pair in pairs[:number])
        path = f"M{x1:.0f} {start:.0f}H{x:.0f}V{end:.0f}H{x2 - 2:.0f}"
        style = f'stroke="{colour}" stroke-width="{_stroke(count):.1f}" marker-end="url(#{head})"'
        lines.append(f'<path d="{path}" fill="none" {style}/>')
        lines.append(_text(x1 - 6, start - 5, str(count), 15, "end", "bold", fill=colour))
    return lines


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(read_graph()), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
