"""The page that compares two packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report import Documents, write_comparison
from rectexport.runtime.report.comparison import build_comparison
from tests.runtime.report.conftest import latency_document, manifest_document, origins_document, parity_document
from tests.runtime.report.page_reader import Element, read_page, rows, table

pytest.importorskip("jinja2")
Write = Callable[..., Path]


@pytest.fixture
def sides(write: Write) -> tuple[Package, Package]:
    """Two packages whose precision, last module and first layer's corner differ."""
    first = write("net", origins=origins_document())
    manifest, origins, parity = manifest_document(), origins_document(), parity_document()
    manifest["options"]["precision"] = "fp16"
    manifest["passes"][0]["fired"] = ["node_1"]
    origins["models"]["model.onnx"]["nodes"][3]["op"] = "ConvInteger"
    parity["cases"][0]["layers"][1]["regions"]["corner"]["relative_l2"] = 1e-3
    return Package.open(first), Package.open(write("half", manifest=manifest, origins=origins, parity=parity))


def cells(root: Element, caption: str) -> list[list[str]]:
    return [[cell.text for cell in row] for row in rows(table(root, caption))]


def test_what_differs_is_listed_and_the_rest_is_not(sides: tuple[Package, Package]) -> None:
    root = read_page(build_comparison(*sides, "net", "half"))
    facts = {row[0]: row[1:] for row in cells(root, "Facts that differ, 1 of")}
    assert facts == {"Precision": ["float32", "float16 in the graph, float32 in and out"]}
    assert cells(root, "Passes that fired") == [["rectify_fold", "7", "1"]]


def test_modules_that_differ_come_first_with_their_distances(sides: tuple[Package, Package]) -> None:
    root = read_page(build_comparison(*sides, "net", "half"))
    shown = cells(root, "Modules; 1 of 5")
    assert shown[0][0] == "stage2.3.conv" and shown[0][1] == "Conv" and shown[0][3] == "ConvInteger"
    changed = next(row for row in rows(table(root, "Modules; 1 of 5")) if row[0].text == "stage0.1.conv")
    assert changed[2].text == "4.6e-07" and changed[4].text == "1.0e-03"
    assert changed[4].all("i", "over") and not changed[2].all("i", "over")


def test_operators_are_counted_side_by_side(sides: tuple[Package, Package]) -> None:
    counts = {row[0]: row[1:3] for row in cells(read_page(build_comparison(*sides, "net", "half")), "Nodes by")}
    assert counts == {"Conv": ["4", "3"], "Gemm": ["1", "1"], "Mul": ["1", "1"], "ConvInteger": ["–", "1"]}


def test_a_measurement_of_both_tells_which_is_faster(sides: tuple[Package, Package], tmp_path: Path) -> None:
    document = latency_document()
    document["comparisons"][0]["base"] = "out/half"
    (tmp_path / "latency.json").write_text(json.dumps(document))
    given = Documents(latency=tmp_path / "latency.json")
    text = read_page(build_comparison(*sides, "net", "half", given)).text
    assert "net takes 1.062 of the time of out/half (1.031 to 1.094 with 95 % confidence)" in text
    assert "net.pt" not in text.partition("Differences")[0].partition("median")[0]
    assert "Their times were not compared" in read_page(build_comparison(*sides, "net", "half")).text


def test_it_is_written_atomically_and_not_into_a_package(sides: tuple[Package, Package], tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    write_comparison(*sides, out)
    assert out.read_text(encoding="utf-8") == build_comparison(*sides, "net", "half")
    with pytest.raises(UsageError, match="lies in a package"):
        write_comparison(*sides, sides[0].path / "page.html")
