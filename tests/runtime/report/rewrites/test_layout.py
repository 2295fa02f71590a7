"""Layouts of small graphs: boxes do not overlap, edges lead down and around boxes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from rectexport.runtime.report.rewrites.layout import BETWEEN_ROWS, GAP, ROW, Layout, lay_out

Edge = tuple[int, int]


def overlapping(layout: Layout, widths: list[float]) -> list[Edge]:
    """Pairs of boxes in one layer that are nearer than the gap."""
    found = []
    for a, (xa, ya) in layout.centres.items():
        for b, (xb, yb) in layout.centres.items():
            if a < b and ya == yb and abs(xa - xb) < (widths[a] + widths[b]) / 2 + GAP - 1e-6:
                found.append((a, b))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_is_laid_out_without_overlaps(seed: int) -> None:
    dice = random.Random(seed)
    count = dice.randint(1, 16)
    widths = [dice.uniform(40, 160) for _ in range(count)]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    edges = sorted(pair for pair in pairs if dice.random() < 0.25)
    layout = lay_out([(width, ROW) for width in widths], edges)
    assert not overlapping(layout, widths)
    assert set(layout.paths) == set(edges)
    for (source, target), points in layout.paths.items():
        heights = [y for _, y in points]
        assert heights == sorted(heights) and heights[0] < heights[-1]
        assert points[0] == (layout.centres[source][0], layout.centres[source][1] + ROW / 2)
        assert points[-1] == (layout.centres[target][0], layout.centres[target][1] - ROW / 2)
        assert max(later - earlier for earlier, later in pairwise(heights)) <= ROW + BETWEEN_ROWS  # a bend a layer
        for x, y in points[1:-1]:  # no edge runs through a box
            assert not [
                box
                for box, (centre, middle) in layout.centres.items()
                if abs(y - middle) <= ROW / 2 and abs(x - centre) < widths[box] / 2
            ]
    for (x, y), width in zip(layout.centres.values(), widths, strict=True):
        assert width / 2 <= x + 1e-6 and x + width / 2 <= layout.width + 1e-6
        assert ROW / 2 <= y <= layout.height - ROW / 2 + 1e-6


def test_a_chain_goes_down_and_an_input_is_above_its_first_reader() -> None:
    layout = lay_out([(50.0, ROW)] * 4, [(0, 1), (1, 2), (3, 2)])
    heights = [layout.centres[index][1] for index in range(4)]
    assert heights[0] < heights[1] < heights[2]
    assert heights[3] == heights[1]


def test_last_boxes_are_at_the_bottom() -> None:
    layout = lay_out([(50.0, ROW)] * 4, [(0, 1), (1, 2), (0, 3)], last=[3])
    assert layout.centres[3][1] == layout.centres[2][1]


def test_edges_do_not_cross_without_need() -> None:
    layout = lay_out([(50.0, ROW)] * 4, [(0, 3), (1, 2)])
    ends = [(path[0][0], path[-1][0]) for path in layout.paths.values()]
    assert all(start == end for start, end in ends)
