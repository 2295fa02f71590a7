"""Places the nodes of a small graph in layers from top to bottom, with long edges routed around nodes.

Source: Sugiyama, Tagawa and Toda, Methods for Visual Understanding of Hierarchical System Structures (1981): layers by
longest path, dummy nodes for edges that cross a layer, barycentres for the order within a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP = 14.0
ROW = 38.0
BETWEEN_ROWS = 26.0
#: Width that an edge takes in a layer that it crosses.
LANE = 12.0
SWEEPS = 4

Edge = tuple[int, int]
Point = tuple[float, float]
Size = tuple[float, float]


@dataclass
class Layout:
    """Centres of the boxes, and paths of the edges from the bottom of one box to the top of another."""

    centres: dict[int, Point] = field(default_factory=dict)
    paths: dict[Edge, list[Point]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


def lay_out(boxes: Sequence[Size], edges: Sequence[Edge], last: Sequence[int] = ()) -> Layout:
    """Place boxes of these widths and heights (at most ROW), joined by edges.

    Boxes in `last` are placed in the lowest layer.
    """
    ranks = _ranks(len(boxes), edges, last)
    sizes = {index: width for index, (width, _) in enumerate(boxes)}
    chains = {edge: _chain(edge, ranks, sizes) for edge in edges}
    rows: list[list[int]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for item, rank in ranks.items():
        rows[rank].append(item)
    above, below = _neighbours(chains.values())
    _order(rows, above, below)
    return _placed(rows, sizes, chains, boxes)


def _ranks(count: int, edges: Sequence[Edge], last: Sequence[int]) -> dict[int, int]:
    ranks = dict.fromkeys(range(count), 0)
    for _ in range(count):  # as many rounds as a path can have edges
        for source, target in edges:
            ranks[target] = min(max(ranks[target], ranks[source] + 1), count)
    for source in {source for source, _ in edges} - {target for _, target in edges}:
        ranks[source] = min(ranks[target] for start, target in edges if start == source) - 1
    lowest = max(ranks.values(), default=0)
    return ranks | dict.fromkeys(last, lowest)


def _chain(edge: Edge, ranks: dict[int, int], sizes: dict[int, float]) -> list[int]:
    """The edge's points: both ends, and a dummy node in every layer between."""
    source, target = edge
    chain = [source]
    for rank in range(ranks[source] + 1, ranks[target]):
        lane = len(sizes)
        sizes[lane], ranks[lane] = LANE, rank
        chain.append(lane)
    return [*chain, target]


def _neighbours(chains: Iterable[Sequence[int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _order(rows: list[list[int]], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> None:
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for index in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed, neighbours = (rows[index - 1], above) if down else (rows[index + 1], below)
            places = {item: (place + 0.5) / len(fixed) for place, item in enumerate(fixed)}
            rows[index].sort(key=lambda item: _mean([places[n] for n in neighbours.get(item, ()) if n in places]))


def _mean(places: Sequence[float]) -> float:
    return sum(places) / len(places) if places else 0.5


def _placed(
    rows: Sequence[Sequence[int]], sizes: Mapping[int, float], chains: Mapping[Edge, list[int]], boxes: Sequence[Size]
) -> Layout:
    spans = [sum(sizes[item] for item in row) + GAP * (len(row) - 1) for row in rows]
    layout = Layout(width=max(spans, default=0.0), height=len(rows) * (ROW + BETWEEN_ROWS) - BETWEEN_ROWS)
    centres: dict[int, Point] = {}
    for rank, (row, span) in enumerate(zip(rows, spans, strict=True)):
        x, y = (layout.width - span) / 2, rank * (ROW + BETWEEN_ROWS) + ROW / 2
        for item in row:
            centres[item] = (x + sizes[item] / 2, y)
            x += sizes[item] + GAP
    layout.centres = {item: centres[item] for item in range(len(boxes))}
    for (source, target), chain in chains.items():
        points = [(centres[source][0], centres[source][1] + boxes[source][1] / 2)]
        for lane in chain[1:-1]:
            x, y = centres[lane]
            points += [(x, y - ROW / 2), (x, y + ROW / 2)]
        end = (centres[target][0], centres[target][1] - boxes[target][1] / 2)
        layout.paths[source, target] = [*points, end]
    return layout
