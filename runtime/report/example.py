"""One image of the goldens with its answer, for packages that take 8-bit images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from rectexport.runtime.base.runner import Array
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.svg import element, rendered
from rectexport.runtime.report.text import short

#: Largest side of the drawing, in squares; larger images are sampled.
SIDE = 48
#: Most numbers of an answer that are listed.
LISTED = 5


@dataclass(frozen=True)
class Example:
    """The first row of the example: a drawing as SVG, its size in pixels, and (output, numbers) as text."""

    drawing: str
    size: str
    answers: list[tuple[str, str]]


def example_of(package: Package) -> Example | None:
    """None for a package without an image at its front. Raises BadInput for goldens that cannot be read."""
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
    return Example(_drawn(image), f"{height} x {width}", _answers(outputs))


def _drawn(image: Array) -> str:
    """[H, W, 1 or 3] as squares; neighbours of one colour share a rectangle."""
    step = max(1, -(-max(image.shape[:2]) // SIDE))
    small = image[::step, ::step]
    height, width = small.shape[:2]
    bars = []
    for y in range(height):
        colours = [_colour(pixel) for pixel in small[y]]
        x = 0
        for colour, run in groupby(colours):
            count = len(list(run))
            bars.append(element("rect", x=x, y=y, width=count, height=1, fill=colour))
            x += count
    label = "The image of the example"
    box = f"0 0 {width} {height}"
    return rendered(
        element(
            "svg", *bars, viewBox=box, width=4 * width, height=4 * height, shape_rendering="crispEdges", role="img",
            aria_label=label,
        )
    )  # fmt: skip


def _colour(pixel: Sequence[int]) -> str:
    values = [int(value) for value in pixel[:3]] * (3 if len(pixel) < 3 else 1)
    return "#" + "".join(f"{value:02x}" for value in values[:3])


def _answers(outputs: Mapping[str, Array]) -> list[tuple[str, str]]:
    """For each output its first row: whole numbers and few numbers as they are, else the largest ones by index."""
    return [(short(name), _answer(np.asarray(values))) for name, values in outputs.items()]


def _answer(values: Array) -> str:
    row = values[0] if values.ndim else values
    if row.ndim == 0:
        return f"{row:.6g}"
    if row.ndim > 1:
        return f"a tensor of {' x '.join(map(str, row.shape))}"
    if row.dtype.kind in "iub" or row.size <= LISTED:
        return ", ".join(f"{value:.4g}" for value in row[:LISTED])
    best = np.argsort(row, kind="stable")[::-1][:LISTED]
    return ", ".join(f"{index}: {row[index]:.4g}" for index in best)
