"""The page of a package that takes images shows one, with its answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.report.example import example_of

PHOTO = np.zeros((1, 2, 3, 3), np.uint8)
PHOTO[0, 0, 1:] = (255, 128, 0)


def package(photo: Any, answers: dict[str, Any], **options: Any) -> Any:
    data = {"preprocessing": {"input": "photo", "layout": "nhwc", "channels": "rgb", **options}}
    goldens = {"photo": photo}, answers
    return SimpleNamespace(manifest=SimpleNamespace(data=data), goldens=lambda: goldens, path=Path("p"))


def test_image_and_answer() -> None:
    scores = np.array([[0.1, 0.5, 0.2, 0.0, 0.05, 0.15]], np.float32)
    found = example_of(package(PHOTO, {"scores": scores, "best": np.array([7]), "map": np.zeros((1, 2, 4, 4))}))
    assert found is not None
    assert found.size == "2 x 3"
    assert found.drawing.count("<rect") == 3
    assert 'fill="#ff8000"' in found.drawing and 'width="2"' in found.drawing
    assert found.answers == [
        ("scores", "1: 0.5, 2: 0.2, 5: 0.15, 0: 0.1, 4: 0.05"),
        ("best", "7"),
        ("map", "a tensor of 2 x 4 x 4"),
    ]


@pytest.mark.parametrize(
    ("photo", "options"),
    [(PHOTO[..., ::-1], {"channels": "bgr"}), (PHOTO.transpose(0, 3, 1, 2), {"layout": "nchw"})],
)
def test_other_orders(photo: Any, options: dict[str, str]) -> None:
    found, wanted = example_of(package(photo, {}, **options)), example_of(package(PHOTO, {}))
    assert found is not None and wanted is not None
    assert found.drawing == wanted.drawing


def test_a_large_gray_image_is_sampled() -> None:
    photo = np.arange(200, dtype=np.uint8).reshape(1, 1, 200, 1).repeat(100, axis=1)
    found = example_of(package(photo, {}, channels="gray"))
    assert found is not None
    assert found.drawing.count("<rect") == 20 * 40
    assert 'fill="#0f0f0f"' in found.drawing


def test_packages_without_images() -> None:
    assert example_of(package(PHOTO.astype(np.float32), {})) is None
    assert example_of(package(PHOTO[0], {})) is None
    other = package(PHOTO, {})
    other.manifest.data["preprocessing"] = {"module": "mine.Scale"}
    assert example_of(other) is None
    del other.manifest.data["preprocessing"]
    assert example_of(other) is None
