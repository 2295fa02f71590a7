"""One real input with its answer: an item of the data that was evaluated, or an image of the package's goldens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rectexport.runtime.base.pictures import png_address
from rectexport.runtime.base.runner import Array
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.documents import Answer, Evaluated, Item
from rectexport.runtime.report.text import short

#: Longest side of a golden image's picture.
SIDE = 96
#: Most numbers of an answer that are listed.
LISTED = 5


@dataclass(frozen=True)
class Shown:
    """Who answers, in words and as a picture (a data address, "" for none)."""

    who: str
    answer: str
    picture: str


@dataclass(frozen=True)
class Example:
    """picture: the input as a data address, "" where it is no image; told: what it is."""

    picture: str
    told: str
    answers: list[Shown]


def example_of(package: Package, evaluated: Evaluated | None) -> Example | None:
    """The first item of the evaluation, else the golden image of a package that takes 8-bit images, else None.

    Raises BadInput for goldens that cannot be read.
    """
    if evaluated is not None and evaluated.sample is not None:
        return _of_item(evaluated.data, evaluated.sample)
    return _of_goldens(package)


def _of_item(data: str, item: Item) -> Example:
    label = "" if item.target is None else f", label {item.target}"
    answers = [Shown(entry.model, _told(entry), _address(entry.picture)) for entry in item.answers]
    return Example(_address(item.picture), f"{short(item.name, 60)} of {short(data, 60)}{label}", answers)


def _told(answer: Answer) -> str:
    if answer.largest:
        if len(answer.shape) == 0 or answer.shape == (1,):
            return f"{answer.largest[0][1]:.4g}"
        return ", ".join(f"{place}: {value:.4g}" for place, value in answer.largest)
    return f"a tensor of {' × '.join(map(str, answer.shape))}"


def _address(picture: Array | None) -> str:
    return "" if picture is None else png_address(picture)


def _of_goldens(package: Package) -> Example | None:
    options = package.manifest.data.get("preprocessing")
    if not isinstance(options, dict) or "input" not in options:
        return None
    feeds, outputs = package.goldens()
    batch = feeds.get(str(options["input"]))
    if batch is None or batch.ndim != 4 or batch.dtype != np.uint8 or not batch.size:
        return None
    image = batch[0] if options.get("layout") == "nhwc" else batch[0].transpose(1, 2, 0)
    if options.get("channels") == "bgr":
        image = image[..., ::-1]
    height, width = image.shape[:2]
    step = max(1, -(-max(height, width) // SIDE))
    small = np.ascontiguousarray(image[::step, ::step])
    told = f"the example of the package, {height} × {width} pixels, and PyTorch's answer to it"
    shown = [Shown(short(name), _answer(np.asarray(values)), "") for name, values in outputs.items()]
    return Example(png_address(small if small.shape[2] in (1, 3) else small[..., :1]), told, shown)


def _answer(values: Array) -> str:
    """The first row: whole numbers and few numbers as they are, else the largest ones by index."""
    row = values[0] if values.ndim else values
    if row.ndim == 0:
        return f"{row:.6g}"
    if row.ndim > 1:
        return f"a tensor of {' × '.join(map(str, row.shape))}"
    if row.dtype.kind in "iub" or row.size <= LISTED:
        return ", ".join(f"{value:.4g}" for value in row[:LISTED])
    best = np.argsort(row, kind="stable")[::-1][:LISTED]
    return ", ".join(f"{index}: {row[index]:.4g}" for index in best)
