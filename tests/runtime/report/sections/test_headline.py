"""The figures at the top: which one leads, and what stands in where something was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.report.documents import Evaluated, Latency, Measured, Parity
from rectexport.runtime.report.measurements import read_latency
from rectexport.runtime.report.reading import read_parity
from rectexport.runtime.report.sections.headline import Tile, tiles
from rectexport.runtime.report.sections.quantized import quantized
from tests.runtime.report.conftest import Document, int8_document, latency_document, manifest_document, parity_document


@pytest.fixture
def parity(tmp_path: Path) -> Parity:
    (tmp_path / "parity.json").write_text(json.dumps(parity_document()))
    return read_parity(tmp_path / "parity.json")


def read(document: Document, folder: Path) -> Latency:
    (folder / "latency.json").write_text(json.dumps(document))
    return read_latency(folder / "latency.json")


def shown(parity: Parity, **given: Any) -> dict[str, Tile]:
    values = {"rewrites": None, "latency": None, "evaluated": None, "int8": None, **given}
    return {tile.name: tile for tile in tiles(manifest_document(), "2.5 MB", parity, **values)}


def test_what_was_not_measured_is_left_out(parity: Parity) -> None:
    assert list(shown(parity)) == ["model size", "agreement", "farthest from PyTorch"]


def test_the_speed_is_pytorchs_time_in_ours(parity: Parity, tmp_path: Path) -> None:
    tile = shown(parity, latency=read(latency_document(), tmp_path))["speed against PyTorch"]
    assert tile.figure == "4.00 ×" and tile.told == "2.0 to 5.0 with 95 % confidence; onnxruntime, batch 1"


def test_other_comparisons_say_nothing_about_pytorch(parity: Parity, tmp_path: Path) -> None:
    document = latency_document()
    document["comparisons"] = document["comparisons"][:1]
    found = shown(parity, latency=read(document, tmp_path))
    assert "speed against PyTorch" not in found and found["latency"].figure == "31.2 ms"


@pytest.mark.parametrize("ratio", [0.0, -1.0])
def test_a_ratio_that_is_none_breaks_nothing(parity: Parity, tmp_path: Path, ratio: float) -> None:
    document = latency_document()
    document["comparisons"][1] |= {"ratio": ratio, "low": ratio, "high": ratio}
    assert shown(parity, latency=read(document, tmp_path))["speed against PyTorch"].figure == "0.00 ×"


def test_accuracy_is_of_the_evaluation_else_of_int8_else_agreement(parity: Parity) -> None:
    engine = Measured("an engine", 98.5, (-0.25, -0.75, 0.25), 0.99)
    evaluated = Evaluated("data", 1200, "top1", "points", None, (engine,), None)
    tile = shown(parity, evaluated=evaluated)["accuracy"]
    assert tile.figure == "98.50 %"
    assert tile.told == "top1 on 1,200 items; -0.25 from the reference (-0.75 to +0.25)"
    int8 = quantized({"int8": int8_document()})
    assert shown(parity, int8=int8)["accuracy"] == Tile("accuracy", "99.25 %", "onnxruntime in int8; 99.50 % in float")
    assert shown(parity)["agreement"].figure == "100 %"


def test_data_without_labels_has_agreement(parity: Parity) -> None:
    evaluated = Evaluated("data", 7, "", "", None, (Measured("an engine", None, None, 0.5),), None)
    assert shown(parity, evaluated=evaluated)["agreement"].figure == "50.00 %"
