"""The page's section on int8: what the manifest says, and nothing for a package in floating point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.page import build_page
from rectexport.runtime.report.sections.quantized import quantized
from tests.runtime.report.conftest import int8_document, manifest_document, origins_document
from tests.runtime.report.page_reader import Element, read_page, rows, table

pytest.importorskip("jinja2")

Write = Callable[..., Path]


def page(write: Write, entry: Any) -> str:
    return build_page(Package.open(write(manifest={**manifest_document(), "int8": entry})), "net")


@pytest.fixture
def root(write: Write) -> Element:
    return read_page(page(write, int8_document()))


def cells(root: Element, caption: str) -> list[list[str]]:
    return [[" ".join(cell.text.split()) for cell in row] for row in rows(table(root, caption))]


def test_a_package_in_floating_point_has_no_section(write: Write) -> None:
    assert quantized(manifest_document()) is None
    root = read_page(build_page(Package.open(write()), "net"))
    assert "int8" not in [entry.text for entry in root.all("h2")]


def test_the_section_stands_between_rewrites_and_latency(root: Element) -> None:
    assert [entry.text for entry in root.all("h2")][2:6] == ["Proofs", "Rewrites", "int8", "Latency"]
    assert "#int8" in {link.attributes["href"] for link in root.all("a")}


def test_layers_tell_their_form_or_why_they_are_float(root: Element) -> None:
    assert cells(root, "Layers, onnxruntime") == [
        ["head", "float: it is 0.006% of the multiplications"],
        ["stem", "strips"],
        ["middle", "both"],
    ]


def test_ratios_stand_by_region(root: Element) -> None:
    assert cells(root, "Signal to noise of each tensor") == [["relu", "39.5 dB", "36.5 dB", "–", "41.5 dB"]]


def test_ranges_are_those_of_the_manifest(root: Element) -> None:
    assert cells(root, "Ranges of the quantized tensors, onnxruntime") == [
        ["x", "uint8", "-0.5 to 1.5", "0.007812", "3", "–"],
        ["y", "uint8", "-1 to 4", "0.007812", "3", "3"],
    ]


def test_engines_tell_what_they_answered(root: Element) -> None:
    assert cells(root, "Engines on the hold-out, onnxruntime") == [
        ["onnxruntime", "40.2 dB", "∞", "99.50 %", "2", "99.50 %, 99.25 %, -0.64 to +0.12"]
    ]
    assert not [entry for entry in root.all("caption") if entry.text.startswith("Engines on the hold-out, tensorrt")]


def test_the_speed_is_told_where_it_was_measured(write: Write) -> None:
    text = page(write, int8_document())
    assert text.count("of the time of float32") == 1 and "0.42 of the time of float32 (0.40 to 0.45" in text


def test_an_entry_of_another_shape_is_refused(write: Write) -> None:
    broken = int8_document()
    broken["targets"]["onnxruntime"]["noise"] = [{"tensor": "relu"}]
    with pytest.raises(BadInput, match="manifest"):
        page(write, broken)


def test_names_are_escaped(write: Write) -> None:
    entry = int8_document()
    target = entry["targets"]["onnxruntime"]
    target["layers"] = {"<script>alert(1)</script>": "both"}
    target["float"] = {"\x1b[31mred": "</table>"}
    entry["targets"] = {"<b>": target}
    text = page(write, entry)
    assert "<script" not in text and "\x1b" not in text and "&lt;/table&gt;" in text
    assert {tag.tag for tag in read_page(text).all()} == {
        tag.tag for tag in read_page(page(lambda **documents: write("plain", **documents), int8_document())).all()
    }


def test_layers_are_called_after_their_modules(write: Write) -> None:
    entry = int8_document()
    entry["targets"]["onnxruntime"]["layers"] = {"node_z: tail": "after"}
    folder = write(manifest={**manifest_document(), "int8": entry}, origins=origins_document())
    root = read_page(build_page(Package.open(folder), "net"))
    assert ["stage2.3.norm", "after"] in cells(root, "Layers, onnxruntime")
