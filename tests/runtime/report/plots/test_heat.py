"""The heat map's cells have the place of their layer and region and the colour of their value."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rectexport.runtime.report.plots.heat import REGIONS, HeatMap, heat_map, values
from rectexport.runtime.report.reading import read_parity
from rectexport.runtime.report.scale import Scale
from tests.runtime.report.conftest import Document, parity_document


def mapped(document: Document, folder: Path) -> HeatMap:
    path = folder / "parity.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found = heat_map(read_parity(path))
    assert found is not None
    return found


def cells(svg: str) -> dict[tuple[int, int], str]:
    """Colour by column and row."""
    found = {}
    for tag in re.findall(r"<path [^>]*>", svg):
        colour = re.search(r'class="(\w+)"', tag)
        assert colour is not None
        for x, y, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", tag):
            for column in range(int(x), int(x) + int(length)):
                assert (column, int(y)) not in found
                found[column, int(y)] = colour[1]
    return found


def test_every_cell_has_the_colour_of_its_value(tmp_path: Path) -> None:
    document = parity_document(layers=6, shapes=2)
    document["cases"][0]["layers"][2]["regions"]["edge"]["relative_l2"] = 1.5e-4  # beyond ten times the tolerance
    document["cases"][1]["layers"][3]["relative_l2"] = 0.0
    found = mapped(document, tmp_path)
    cases = read_parity(tmp_path / "parity.json").cases
    everything = [value.relative_l2 for case in cases for layer in case.layers for value in values(layer).values()]
    scale = Scale.over(everything, 1e-4)
    for band, case in zip(found.bands, cases, strict=True):
        expected = {
            (column, REGIONS.index(region)): scale.colour(value.relative_l2)
            for column, layer in enumerate(case.layers)
            for region, value in values(layer).items()
        }
        assert cells(band.svg) == expected
    assert cells(found.bands[0].svg)[2, REGIONS.index("edge")] == "over"
    assert (0, REGIONS.index("corner")) not in cells(found.bands[0].svg)
    assert [band.mark is not None for band in found.bands] == [True, False]


def test_layers_missing_at_one_shape_keep_their_column(tmp_path: Path) -> None:
    """The bands are below each other, so a layer has the same column in all."""
    document = parity_document(layers=3, shapes=2)
    del document["cases"][1]["layers"][1]
    found = mapped(document, tmp_path)
    assert found.count == 3
    assert {column for column, _ in cells(found.bands[1].svg)} == {0, 2}


def test_stages_are_consecutive_layers_of_one_prefix(tmp_path: Path) -> None:
    document = parity_document(layers=4, shapes=1)
    for layer, name in zip(document["cases"][0]["layers"], ("stem", "body.0.a", "body.0.b", "body.1"), strict=True):
        layer["layer"] = name
    assert mapped(document, tmp_path).stages == (("stem", 1), ("body.0", 2), ("body.1", 1))


def test_deep_nets_have_shallow_stages(tmp_path: Path) -> None:
    document = parity_document(layers=60, shapes=1)
    assert [stage for stage, _ in mapped(document, tmp_path).stages] == ["stage0", "stage1", "stage2"]
    for index, layer in enumerate(document["cases"][0]["layers"]):
        layer["layer"] = f"conv{index}"
    assert mapped(document, tmp_path).stages == ()
