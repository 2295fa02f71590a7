"""The page of an evaluation: each engine's figures, and the worst items with pictures of what the model saw.

As the report of a package it is one file without scripts; its pictures are data within it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.runner import Array
from rectexport.runtime.evaluation.evaluate import Answers, Evaluation
from rectexport.runtime.package.folder import check_outside
from rectexport.runtime.report.page import environment

#: Larger pictures are shown with every second, third, … pixel.
MOST_PIXELS = 224


@dataclass(frozen=True)
class Worst:
    """An item on the page: what is wrong with it, and its picture as a data address, empty where there is none."""

    item: str
    told: str
    picture: str


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write the page to `out`, which is replaced atomically.

    Raises UsageError for an `out` inside a package, MissingDependency without jinja2.
    """
    require("jinja2")
    check_outside(out)
    view = {
        "evaluation": evaluation,
        "models": [*([evaluation.reference] if evaluation.reference else []), *evaluation.engines],
        "worst": {entry.description: worst_items(entry, evaluation.pictures) for entry in evaluation.engines},
    }
    page = environment().get_template("evaluation.html.j2").render(view)
    with replaced_file(out) as work:
        work.write_text(page, encoding="utf-8")


def worst_items(answers: Answers, pictures: Mapping[str, Array]) -> list[Worst]:
    """The items of an engine that have pictures, the worst first."""
    found = answers.against
    if found is None:
        return []
    told: dict[str, list[str]] = {}
    for flip in sorted(found.flips, key=lambda flip: -flip.margin):
        label = "" if flip.target is None else f", label {flip.target}"
        told.setdefault(flip.item, []).append(f"{flip.expected} becomes {flip.actual}, margin {flip.margin:.3g}{label}")
    for region, worst in found.regions.items():
        told.setdefault(worst.item, []).append(f"worst {region}, {worst.difference.snr_db:.1f} dB")
    return [Worst(item, "; ".join(lines), picture(pictures[item])) for item, lines in told.items() if item in pictures]


def picture(array: Array) -> str:
    """An input as the data address of a PNG file, its values stretched to 0..255; empty where it is no image.

    array   [C, H, W] or [H, W, C] with 1 or 3 channels; of other channels the first is shown
    """
    if array.ndim != 3:
        return ""
    last = array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    planes = np.moveaxis(array, 2, 0) if last else array
    planes = planes if len(planes) == 3 else planes[:1]
    step = max(1, -(-max(planes.shape[1:]) // MOST_PIXELS))
    values = np.nan_to_num(planes[:, ::step, ::step].astype(np.float64))
    low, high = float(values.min()), float(values.max())
    pixels = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(_png(np.moveaxis(pixels, 0, 2))).decode()}"


def _png(pixels: Array) -> bytes:
    """Pixels [H, W, 1 or 3], uint8, as a PNG file (ISO/IEC 15948)."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
