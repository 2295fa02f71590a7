"""Draws both sides of a rewrite: nodes as boxes, the input and output tensors as pills."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from rectexport.runtime.report.documents import GraphNode, Rewrite, Side
from rectexport.runtime.report.network.names import Names
from rectexport.runtime.report.rewrites.layout import ROW, Layout, Point, lay_out
from rectexport.runtime.report.svg import Element, element, rendered
from rectexport.runtime.report.text import short, sizes

MARGIN = 3.0
PILL = 19.0
CHARACTER = 7.0
LONGEST = 18
#: Most nodes drawn; an untrusted document may hold more than the exporter records.
MAX_NODES = 60

Key = tuple[object, ...]


def draw(rewrite: Rewrite, names: Names) -> tuple[str, str]:
    """Both sides, before and after, as inline SVG; tensors are called after the modules that make them."""
    sides = (rewrite.before, rewrite.after)
    keys = [{_key(node) for node in side.nodes} for side in sides]
    return (
        _draw(rewrite.before, rewrite.tensor, keys[1], "gone", "before", names),
        _draw(rewrite.after, rewrite.tensor, keys[0], "new", "after", names),
    )


def _key(node: GraphNode) -> Key:
    return (node.op, node.inputs, node.outputs, node.constants)


def _draw(side: Side, tensor: str, other: Collection[Key], changed: str, when: str, names: Names) -> str:
    nodes = list(reversed(side.nodes[:MAX_NODES]))
    made = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    given = list(dict.fromkeys(name for node in nodes for name in node.inputs if name not in made))
    places = made | {name: len(nodes) + index for index, name in enumerate(given)}
    end = len(nodes) + len(given)
    edges = [(places[name], index) for index, node in enumerate(nodes) for name in node.inputs]
    edges += [(made[tensor], end)] if tensor in made else []
    labels = [[_operator(node), *_constants(node)] for node in nodes]
    labels += [[_label(name, names)] for name in (*given, tensor)]
    widths = [max(56.0, 20 + CHARACTER * max(map(len, lines))) for lines in labels]
    heights = [ROW] * len(nodes) + [PILL] * (len(given) + 1)
    layout = lay_out(
        list(zip(widths, heights, strict=True)), sorted({edge for edge in edges if edge[0] != edge[1]}), [end]
    )
    boxes = [
        _box(layout.centres[index], widths[index], labels[index], node.name, "kept" if _key(node) in other else changed)
        for index, node in enumerate(nodes)
    ]
    pills = [
        _pill(layout.centres[len(nodes) + index], widths[len(nodes) + index], name, _label(name, names))
        for index, name in enumerate((*given, tensor))
    ]
    title = f"{when}: {', '.join(_operator(node) for node in nodes)}"
    return _sheet(layout, title, [*_edges(layout), *boxes, *pills])


def _sheet(layout: Layout, title: str, parts: list[Element]) -> str:
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    frame = f"{-MARGIN} {-MARGIN} {width:.0f} {height:.0f}"
    options = {"class_": "graph", "role": "img", "aria_label": short(title, 400)}
    return rendered(element("svg", *parts, viewBox=frame, width=round(width), height=round(height), **options))


def _operator(node: GraphNode) -> str:
    return short(node.op.removeprefix("rectexport."), LONGEST)


def _constants(node: GraphNode) -> list[str]:
    """The shape of the constant with the most axes: usually the weights."""
    known = [shape for shape in node.constants if shape]
    if not known:
        return []
    _, deepest = max((len(shape), shape) for shape in known)
    return [short(sizes(deepest), LONGEST + 6)]


def _box(centre: Point, width: float, lines: list[str], name: str, state: str) -> Element:
    x, y = centre
    texts = [element("text", lines[0], class_="op", x=x, y=y + (4.0 if len(lines) == 1 else -3.0))]
    texts += [element("text", line, class_="constant", x=x, y=y + 12.0) for line in lines[1:]]
    box = element("rect", x=x - width / 2, y=y - ROW / 2, width=width, height=ROW, rx=5)
    return element("g", element("title", name or lines[0]), box, *texts, class_=state)


def _label(tensor: str, names: Names) -> str:
    """The last parts of the module's path, as many as fit."""
    parts = names.of_tensor(tensor).split(".")
    while len(parts) > 1 and len(".".join(parts)) > LONGEST:
        parts = parts[1:]
    return short(".".join(parts), LONGEST)


def _pill(centre: Point, width: float, name: str, label: str) -> Element:
    x, y = centre
    box = element("rect", x=x - width / 2, y=y - PILL / 2, width=width, height=PILL, rx=PILL / 2)
    text = element("text", label, class_="constant", x=x, y=y + 4.0)
    return element("g", element("title", f"tensor {name}"), box, text, class_="tensor")


def _edges(layout: Layout) -> list[Element]:
    return [element("path", d=_curve(points), class_="edge") for points in layout.paths.values()]


def _curve(points: list[Point]) -> str:
    """An SVG path that is vertical at both ends, with an arrowhead at the last point."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    x, y = points[-1]
    return f"{path}M{x - 3.5:.1f} {y - 6:.1f}L{x:.1f} {y:.1f}L{x + 3.5:.1f} {y - 6:.1f}"
