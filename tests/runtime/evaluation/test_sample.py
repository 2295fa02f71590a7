"""What an evaluation keeps of one item for the report: a small picture and a few numbers."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from rectexport.runtime.evaluation.sample import SIDE, Sample


def pixels(entry: dict[str, Any]) -> np.ndarray:
    content = np.frombuffer(base64.b64decode(entry["pixels"]), np.uint8)
    return content.reshape(entry["height"], entry["width"], entry["channels"])


def test_a_vector_is_told_by_its_largest_numbers() -> None:
    given = np.linspace(-1, 1, 2 * 3 * 3, dtype=np.float32).reshape(3, 2, 3)
    scores = np.array([0.5, -2.0, 2.0, -1.0, 0.25, 0.75, 0.0], np.float32)
    document = json.loads(json.dumps(Sample("a.png", 2, given, [("an engine", scores)]).as_dict(), allow_nan=False))
    assert document["item"] == "a.png" and document["target"] == 2
    assert document["answers"][0]["largest"] == [[2, 2.0], [5, 0.75], [0, 0.5], [4, 0.25], [6, 0.0]]
    assert pixels(document["picture"]).shape == (2, 3, 3) and pixels(document["picture"]).max() == 255


def test_planes_of_classes_are_shown_by_the_largest_one() -> None:
    planes = np.zeros((5, 4, 4), np.float32)
    planes[3, :2], planes[1, 2:] = 1, 1
    answer = Sample("a", None, np.zeros((1, 4, 4)), [("net", planes)]).as_dict()["answers"][0]
    assert answer["shape"] == [5, 4, 4] and answer["largest"] == []
    np.testing.assert_array_equal(pixels(answer["picture"])[..., 0], [[255] * 4] * 2 + [[0] * 4] * 2)


def test_large_images_are_sampled_and_other_inputs_have_no_picture() -> None:
    large = Sample("a", None, np.zeros((3, 700, 300), np.float32)).as_dict()["picture"]
    assert max(large["height"], large["width"]) <= SIDE
    assert Sample("a", None, np.zeros(7)).as_dict()["picture"] is None
