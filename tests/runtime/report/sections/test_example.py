"""The page shows one real input with its answer: an item of the evaluation, or the golden image."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.report.documents import Answer, Evaluated, Item
from rectexport.runtime.report.sections.example import Shown, example_of

PHOTO = np.zeros((1, 2, 3, 3), np.uint8)
PHOTO[0, 0, 1:] = (255, 128, 0)


def package(photo: Any, answers: dict[str, Any], **options: Any) -> Any:
    data = {"preprocessing": {"input": "photo", "layout": "nhwc", "channels": "rgb", **options}}
    goldens = {"photo": photo}, answers
    return SimpleNamespace(manifest=SimpleNamespace(data=data), goldens=lambda: goldens, path=Path("p"))


def pixels(address: str) -> np.ndarray:
    """A data address, read by another library."""
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_image_and_answer() -> None:
    scores = np.array([[0.1, 0.5, 0.2, 0.0, 0.05, 0.15]], np.float32)
    answers = {"scores": scores, "best": np.array([7]), "map": np.zeros((1, 2, 4, 4))}
    found = example_of(package(PHOTO, answers), None)
    assert found is not None
    assert found.told == "the example of the package, 2 × 3 pixels, and PyTorch's answer to it"
    np.testing.assert_array_equal(pixels(found.picture), PHOTO[0])
    assert found.answers == [
        Shown("scores", "1: 0.5, 2: 0.2, 5: 0.15, 0: 0.1, 4: 0.05", ""),
        Shown("best", "7", ""),
        Shown("map", "a tensor of 2 × 4 × 4", ""),
    ]


@pytest.mark.parametrize(
    ("photo", "options"),
    [(PHOTO[..., ::-1], {"channels": "bgr"}), (PHOTO.transpose(0, 3, 1, 2), {"layout": "nchw"})],
)
def test_other_orders(photo: Any, options: dict[str, str]) -> None:
    found, wanted = example_of(package(photo, {}, **options), None), example_of(package(PHOTO, {}), None)
    assert found is not None and wanted is not None
    assert found.picture == wanted.picture


def test_a_large_gray_image_is_sampled() -> None:
    photo = np.arange(200, dtype=np.uint8).reshape(1, 1, 200, 1).repeat(100, axis=1)
    found = example_of(package(photo, {}, channels="gray"), None)
    assert found is not None
    np.testing.assert_array_equal(pixels(found.picture), photo[0, ::3, ::3, 0])


def test_packages_without_images() -> None:
    assert example_of(package(PHOTO.astype(np.float32), {}), None) is None
    assert example_of(package(PHOTO[0], {}), None) is None
    other = package(PHOTO, {})
    other.manifest.data["preprocessing"] = {"module": "mine.Scale"}
    assert example_of(other, None) is None
    del other.manifest.data["preprocessing"]
    assert example_of(other, None) is None


def test_an_item_of_the_evaluation_comes_first() -> None:
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    answers = (
        Answer("PyTorch", (10,), ((7, 4.25), (1, 0.5)), None),
        Answer("an engine", (1,), ((0, 2.5),), None),
        Answer("a net of images", (3, 4, 4), (), plane),
    )
    item = Item("photo.png", 7, plane, answers)
    found = example_of(package(PHOTO, {}), Evaluated("photos", 1, "top1", "points", None, (), item))
    assert found is not None
    assert found.told == "photo.png of photos, label 7"
    np.testing.assert_array_equal(pixels(found.picture), plane[..., 0])
    assert [entry.answer for entry in found.answers] == ["7: 4.25, 1: 0.5", "2.5", "a tensor of 3 × 4 × 4"]
    np.testing.assert_array_equal(pixels(found.answers[2].picture), plane[..., 0])
