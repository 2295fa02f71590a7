"""One item of the data with what each model answers to it, for the report: a picture and a few numbers."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rectexport.runtime.base.pictures import pixels
from rectexport.runtime.base.runner import Array

#: Longest side of the pictures that the document keeps.
SIDE = 96
#: Most numbers of an answer that are kept.
LISTED = 5


@dataclass
class Sample:
    """The first item: its name, its label (None without one), its first input, and each model's first output."""

    item: str
    target: int | None
    given: Array
    answers: list[tuple[str, Array]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "item": self.item,
            "target": self.target,
            "picture": stored_picture(self.given),
            "answers": [{"description": model, **_answer(values)} for model, values in self.answers],
        }


def _answer(values: Array) -> dict[str, Any]:
    """The largest numbers of a vector with their places, or a plane as a picture; and the shape."""
    shape = list(values.shape)
    if values.ndim <= 1:
        flat = values.reshape(-1).astype(np.float64)
        order = np.argsort(-np.nan_to_num(flat), kind="stable")[:LISTED]
        return {"shape": shape, "largest": [[int(place), float(flat[place])] for place in order], "picture": None}
    classes = values.ndim == 3 and values.shape[0] not in (1, 3)
    plane = values.argmax(axis=0)[None] if classes else values
    return {"shape": shape, "largest": [], "picture": stored_picture(plane)}


def stored_picture(array: Array) -> dict[str, Any] | None:
    """8-bit pixels as text; None where the array is no image."""
    image = pixels(array, SIDE)
    if image is None:
        return None
    height, width, channels = image.shape
    content = base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "pixels": content}
