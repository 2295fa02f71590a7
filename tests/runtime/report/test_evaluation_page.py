"""The page of an evaluation: its figures, its worst items, their pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.errors import UsageError
from rectexport.runtime.evaluation.differences import Differences, Flip
from rectexport.runtime.evaluation.evaluate import Answers, Evaluation, Interval
from rectexport.runtime.report.evaluation_page import picture, worst_items, write_evaluation
from rectexport.runtime.report.measurements import evaluated_of
from tests.runtime.report.page_reader import read_page

pytest.importorskip("jinja2")


def pixels(address: str) -> np.ndarray:
    """A data address, read by another library."""
    image = pytest.importorskip("PIL.Image")
    head, _, content = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(image.open(io.BytesIO(base64.b64decode(content))))


def evaluation() -> Evaluation:
    differences = Differences(agreed=2, compared=4, margins=[1.0, 2.0, 3.0, 4.0])
    differences.flips += [Flip("a.png", 3, 3, 5, 0.25), Flip("<b>.png", None, 1, 2, 0.5)]
    rng = np.random.default_rng(0)
    planes = rng.random((2, 3, 6, 6)), rng.random((2, 3, 6, 6))
    differences.add(["c.png", "d.png"], *(side.astype(np.float32) for side in planes), None)
    engine = Answers("onnxruntime 1.31.1", 75.0, Interval(-25.0, -60.5, 12.25), differences)
    pictures = {name: np.full((1, 4, 4), 0.5, np.float32) for name in ("a.png", "<b>.png", "d.png")}
    found = Evaluation("photos", 4, "logits", "top1", "points", 1.0, Answers("PyTorch", 100.0), [engine])
    found.pictures = pictures
    return found


def test_worst_items_come_with_what_is_wrong() -> None:
    found = evaluation()
    listed = worst_items(found.engines[0], found.pictures)
    assert [entry.item for entry in listed][:2] == ["<b>.png", "a.png"]  # the larger margin first
    assert listed[0].told == "1 becomes 2, margin 0.5" and listed[1].told == "3 becomes 5, margin 0.25, label 3"
    assert "c.png" not in {entry.item for entry in listed}  # there is no picture of it
    assert worst_items(found.engines[0], {}) == [] and worst_items(Answers("alone"), found.pictures) == []


def test_the_document_has_the_worst_items_that_have_pictures() -> None:
    found = evaluation()
    (engine,) = found.as_dict()["engines"]
    assert [entry["item"] for entry in engine["worst"]] == ["<b>.png", "a.png", "d.png"]
    assert engine["worst"][0]["told"] == "1 becomes 2, margin 0.5"
    assert engine["worst"][0]["picture"]["height"] == 4
    (read,) = evaluated_of(found.as_dict() | {"reference": None}).engines
    assert [entry.name for entry in read.worst] == ["<b>.png", "a.png", "d.png"]
    assert pixels(read.worst[0].picture).shape == (4, 4)
    found.pictures = {}
    assert "worst" not in found.as_dict()["engines"][0]


def test_the_page(tmp_path: Path) -> None:
    out = tmp_path / "eval.html"
    write_evaluation(evaluation(), out)
    text = out.read_text()
    root = read_page(text)
    assert [entry.text for entry in root.all("h2")] == ["Models", "Worst items on onnxruntime 1.31.1"]
    assert "-25 (-60.5 to +12.2)" in text and "75 points" in text
    assert "<b>.png" not in text and "&lt;b&gt;.png: 1 becomes 2" in text
    (policy,) = [entry for entry in root.all("meta") if entry.attributes.get("http-equiv")]
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert all(entry.attributes["src"].startswith("data:image/png;base64,") for entry in root.all("img"))
    assert not root.all("script") and "http:" not in text and "https:" not in text


def test_no_page_inside_a_package(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError):
        write_evaluation(evaluation(), tmp_path / "eval.html")


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (5, 7, 3), (5, 7, 1), (6, 5, 7)])
def test_pictures_keep_their_pixels(shape: tuple[int, ...]) -> None:
    values = np.linspace(-2, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    found = pixels(picture(values))
    last = shape[2] in (1, 3)
    planes = np.moveaxis(values, 2, 0) if last else values
    planes = planes if len(planes) == 3 else planes[:1]
    wanted = np.moveaxis((planes - planes.min()) / (planes.max() - planes.min()) * 255, 0, 2).squeeze()
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.51


def test_what_is_no_image_has_no_picture_and_large_ones_are_thinned() -> None:
    assert picture(np.zeros(5, np.float32)) == "" and picture(np.zeros((2, 3), np.float32)) == ""
    assert pixels(picture(np.zeros((3, 500, 1000), np.float32))).shape == (100, 200, 3)
    assert (pixels(picture(np.full((1, 4, 4), np.nan, np.float32))) == 0).all()
