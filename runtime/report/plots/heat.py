"""The heat map: layers from left to right, regions of the image from top to bottom, one band for each input shape.

The SVG's unit is one cell; the page stretches it. Cells of one colour are a single path of strokes as wide as a cell,
neighbours joined: a net of 600 layers at five shapes has 12 000 cells, and one element for each would make a page of
megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.report.documents import Case, Distance, Layer, Parity
from rectexport.runtime.report.scale import STEPS, Scale
from rectexport.runtime.report.svg import Element, element, rendered
from rectexport.runtime.report.text import number, short, sizes

WHOLE = "whole"
REGIONS = (WHOLE, "corner", "edge", "interior")
#: Maps with more than this many bands times layers have no tooltips.
MAX_TITLES = 300
MAX_STAGES = 14


@dataclass(frozen=True)
class Cell:
    """One region of one layer at one shape."""

    case: Case
    layer: Layer
    index: int
    region: str
    value: float


@dataclass(frozen=True)
class Band:
    """One shape's part of the map; mark is the place of the worst cell in percent, None if it is in another band."""

    label: str
    shapes: str
    svg: str
    mark: str | None


@dataclass(frozen=True)
class Row:
    """One layer in the table: the largest value of each region over all shapes, and its colour."""

    index: int
    name: str
    tensor: str
    values: tuple[tuple[float, str] | None, ...]
    max_abs: float
    worst: bool

    @property
    def largest(self) -> float:
        """The largest value of all regions."""
        return max((value for value, _ in filter(None, self.values)), key=severity)


@dataclass(frozen=True)
class HeatMap:
    """The map, its legend, and the same values as a table."""

    count: int
    bands: tuple[Band, ...]
    stages: tuple[tuple[str, int], ...]
    scale: Scale
    legend: list[tuple[str, str]]
    limit: float
    worst: Cell
    rows: tuple[Row, ...]

    def worst_rows(self, most: int) -> list[Row]:
        """The layers with the largest distances, in the order of the model."""
        ranked = sorted(self.rows, key=lambda row: severity(row.largest), reverse=True)[:most]
        return sorted(ranked, key=lambda row: row.index)


def values(layer: Layer) -> dict[str, Distance]:
    """Distances by region, the whole tensor first."""
    return {WHOLE: layer.whole, **layer.regions}


def heat_map(parity: Parity) -> HeatMap | None:
    """The heat map of a parity document; None if no inner layer was compared."""
    found: dict[str, list[Layer]] = {}
    for case in parity.cases:
        for layer in case.layers:
            found.setdefault(layer.tensor, []).append(layer)
    places = {tensor: index for index, tensor in enumerate(found)}
    cells = [
        Cell(case, layer, places[layer.tensor], region, distance.relative_l2)
        for case in parity.cases
        for layer in case.layers
        for region, distance in values(layer).items()
        if region in REGIONS
    ]
    if not cells:
        return None
    worst = max(cells, key=lambda cell: severity(cell.value))
    limit = Tolerance.from_dict(parity.tolerances).of_layer(worst.layer.tensor)
    scale = Scale.over([cell.value for cell in cells], limit)
    compared = [case for case in parity.cases if case.layers]
    titles = len(compared) * len(found) <= MAX_TITLES
    return HeatMap(
        count=len(found),
        bands=tuple(_band(case, places, scale, worst, titles) for case in compared),
        stages=_stages([layers[0].name for layers in found.values()]),
        scale=scale,
        legend=scale.legend(),
        limit=limit,
        worst=worst,
        rows=tuple(_row(index, layers, scale, worst) for index, layers in enumerate(found.values(), 1)),
    )


def severity(value: float) -> tuple[bool, float]:
    """Sort key for distances: larger is worse, NaN is worst."""
    return (value != value, value)


def _band(case: Case, places: Mapping[str, int], scale: Scale, worst: Cell, titles: bool) -> Band:
    colours: dict[str, set[tuple[int, int]]] = {}
    for layer in case.layers:
        for region, distance in values(layer).items():
            if region in REGIONS:
                cell = REGIONS.index(region), places[layer.tensor]
                colours.setdefault(scale.colour(distance.relative_l2), set()).add(cell)
    order = [*(f"s{step}" for step in range(STEPS)), "over"]
    parts = [element("path", class_=name, d=_strokes(colours[name])) for name in order if name in colours]
    here = worst.case is case
    if here:
        row = REGIONS.index(worst.region)
        parts.append(element("rect", class_="worst", x=worst.index, y=row, width=1, height=1))
    if titles:
        parts += [_title(layer, places[layer.tensor]) for layer in case.layers]
    shapes = ", ".join(sizes(shape) for shape in case.shapes.values())
    options = {"role": "img", "aria_label": f"{short(case.label)} {shapes}: {_summary(case)}"}
    frame = {"viewBox": f"0 0 {len(places)} {len(REGIONS)}", "preserveAspectRatio": "none"}
    mark = f"{100 * (worst.index + 0.5) / len(places):.2f}" if here else None
    return Band(case.label, shapes, rendered(element("svg", *parts, **frame, **options)), mark)


def _strokes(cells: set[tuple[int, int]]) -> str:
    """A path through the middle of the cells (row, column), one stroke for neighbours in a row."""
    strokes: list[list[int]] = []
    for row, column in sorted(cells):
        if strokes and strokes[-1][0] == row and strokes[-1][2] == column:
            strokes[-1][2] = column + 1
        else:
            strokes.append([row, column, column + 1])
    return "".join(f"M{start} {row}.5h{end - start}" for row, start, end in strokes)


def _title(layer: Layer, place: int) -> Element:
    figures = ", ".join(f"{region} {number(value.relative_l2)}" for region, value in values(layer).items())
    text = element("title", f"{place + 1} {short(layer.name, 60)}: {figures}")
    return element("rect", text, class_="hover", x=place, y=0, width=1, height=len(REGIONS))


def _summary(case: Case) -> str:
    found = [(distance.relative_l2, region) for layer in case.layers for region, distance in values(layer).items()]
    largest, region = max(found, key=lambda entry: severity(entry[0]))
    return f"relative L2 of {len(case.layers)} layers, at most {number(largest)} ({region})"


def _row(index: int, layers: Sequence[Layer], scale: Scale, worst: Cell) -> Row:
    """The table row of a layer, over all shapes."""
    columns: list[tuple[float, str] | None] = []
    for region in REGIONS:
        present = [values(layer)[region].relative_l2 for layer in layers if region in values(layer)]
        largest = max(present, key=severity, default=None)
        columns.append(None if largest is None else (largest, scale.colour(largest)))
    name, tensor = layers[0].name, layers[0].tensor
    max_abs = max((layer.whole.max_abs for layer in layers), key=severity)
    return Row(index, name, tensor, tuple(columns), max_abs, tensor == worst.layer.tensor)


def _stages(names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Consecutive layers with a common prefix of dotted names, as deep as fits into MAX_STAGES labels."""
    found: list[list[str | int]] = []
    for depth in (2, 1):
        found = []
        for name in names:
            stage = ".".join(name.split(".")[:depth])
            if found and found[-1][0] == stage:
                found[-1][1] = int(found[-1][1]) + 1
            else:
                found.append([stage, 1])
        if len(found) <= MAX_STAGES:
            break
    return tuple((str(stage), int(length)) for stage, length in found) if len(found) <= 2 * MAX_STAGES else ()
