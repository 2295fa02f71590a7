"""Exports what stands before and behind a package as packages of their own: the steps of a Triton ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rectexport.exporter.api import export
from rectexport.exporter.base.processing import Answer, ImageInput
from rectexport.exporter.preprocess.picture import draw
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import Option, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import INDEPENDENT, TensorEntry

#: Most images of one request to an ensemble whose images may have any size, unless asked otherwise.
MOST_IMAGES = 8
#: Image sides are free from a quarter of the side that they are resized to, to four times it.
FREEDOM = 4


@dataclass(frozen=True)
class Around:
    """Packages before and behind a model, None where nothing stands; and the tensors of the model that they join."""

    before: Package | None
    behind: Package | None
    image: str
    answer: str


def export_around(
    package: Package, image: ImageInput | None, answer: Answer | None, folder: Path, most: int | None = None
) -> Around:
    """Export to `folder` what turns uint8 images into the package's input, and its output into an answer.

    most  largest number of images in one request; None: the package's, at most MOST_IMAGES

    With resize or crop, the sides of images are free. Raises UsageError where the package has the same inside its graph
    already, where it has no such input or output, and for sizes that do not fit.
    """
    manifest = package.manifest
    rows = _rows(manifest.inputs[0], manifest.rows, most)
    entry = None if image is None else _input(package, image)
    result = None if answer is None else _output(package, answer)
    before = None if image is None or entry is None else _export_before(image, entry, rows, folder / "before")
    behind = None if answer is None or result is None else _export_behind(answer, result, rows, folder / "behind")
    return Around(before, behind, entry.name if entry else "", result.name if result else "")


def _input(package: Package, image: ImageInput) -> TensorEntry:
    option = Option("image_input", image.name)
    manifest = package.manifest
    if manifest.data.get("preprocessing"):
        raise UsageError(
            option, f": {package.path} takes images already, its preprocessing is in its graph; leave it out"
        )
    entries = {entry.name: entry for entry in manifest.inputs}
    found = entries.get(image.name) or (manifest.inputs[0] if len(entries) == 1 else None)
    if found is None:
        raise UsageError(option, f": no input {image.name!r}; {package.path} takes {', '.join(entries)}")
    if len(found.shape) != 4 or found.dtype != "float32" or found.shape[1] != image.depth:
        wanted = f"float32 [N, {image.depth}, H, W]"
        raise UsageError(option, f": {found.name} is {found.dtype} {list(found.shape)}, {image.channels} give {wanted}")
    for axis, given in enumerate(image.crop or (image.resize if len(image.resize) == 2 else ()), start=2):
        low, high = _bounds(found, axis)
        if not low <= given <= high:
            taken = str(low) if low == high else f"{low} to {high}"
            raise UsageError(option, f": axis {axis} of {found.name} would be {given}, {package.path} takes {taken}")
    return found


def _output(package: Package, answer: Answer) -> TensorEntry:
    option = Option("output", answer.kind)
    manifest = package.manifest
    if manifest.data.get("postprocessing"):
        raise UsageError(option, f": {package.path} gives an answer already, by its graph; leave it out")
    entries = {entry.name: entry for entry in manifest.outputs}
    if answer.output is None and len(entries) > 1:
        raise UsageError(
            option, f": the package has several outputs; say which, as in {next(iter(entries))}:{answer.kind}"
        )
    found = entries.get(answer.output) if answer.output else manifest.outputs[0]
    if found is None:
        raise UsageError(option, f": no output {answer.output!r}; {package.path} gives {', '.join(entries)}")
    if len(found.shape) < 2 or found.dtype != "float32" or any(isinstance(size, str) for size in found.shape[1:]):
        raise UsageError(
            option,
            f": {found.name} is {found.dtype} {list(found.shape)}, expected float32 [N, classes, …] of fixed sizes; "
            "export the model with the same --output, which needs no ensemble",
        )
    classes = found.shape[1]
    if isinstance(classes, int) and classes < answer.k:
        raise UsageError(
            option, f": {found.name} has {classes} classes, expected at least {answer.k} for topk={answer.k}"
        )
    return found


def _rows(entry: TensorEntry, verdict: str, most: int | None) -> int | tuple[int, int]:
    """Images of a request: a fixed number, or the smallest and the largest."""
    if not entry.shape or isinstance(entry.shape[0], int):
        return entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else 1
    low, high = _bounds(entry, 0)
    limit = most or MOST_IMAGES
    return (1 if verdict == INDEPENDENT else low), max(min(high, limit), low)


def _bounds(entry: TensorEntry, axis: int) -> tuple[int, int]:
    size = entry.shape[axis]
    if isinstance(size, int):
        return size, size
    return (entry.range.min[axis], entry.range.max[axis]) if entry.range else (1, 1 << 14)


def _export_before(image: ImageInput, entry: TensorEntry, rows: int | tuple[int, int], out: Path) -> Package:
    sides = _sides(image, entry)
    example = draw(image, image.shape(_some(rows), *(_some(side) for side in sides)))
    free = {
        image.axes.index(name): torch.export.Dim(name, min=bounds[0], max=bounds[1])
        for name, bounds in zip(("batch", "height", "width"), (rows, *sides), strict=True)
        if isinstance(bounds, tuple) and bounds[0] < bounds[1]
    }
    return _export(example, free, out, image_input=image, output_names=("planes",))


def _sides(image: ImageInput, entry: TensorEntry) -> list[int | tuple[int, int]]:
    """Heights and widths of the images that are taken."""
    if image.resize:
        target = image.resize * (2 // len(image.resize))
        return [(max(side // FREEDOM, 2), side * FREEDOM) for side in target]
    if image.crop:
        return [(side, side * FREEDOM) for side in image.crop]
    bounds = (_bounds(entry, axis) for axis in (2, 3))
    return [low if low == high else (low, high) for low, high in bounds]


def _export_behind(answer: Answer, entry: TensorEntry, rows: int | tuple[int, int], out: Path) -> Package:
    shape = (_some(rows), *(size for size in entry.shape[1:] if isinstance(size, int)))
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()
    batch = (
        torch.export.Dim("batch", min=rows[0], max=rows[1]) if isinstance(rows, tuple) and rows[0] < rows[1] else None
    )
    return _export(example, {} if batch is None else {0: batch}, out, output=Answer(answer.kind, answer.k))


def _export(example: Array, free: dict[int, Any], out: Path, **options: Any) -> Package:
    tensors = (torch.from_numpy(example),)
    return export(nn.Identity(), tensors, out, (free,) if free else None, target="portable", **options)


def _some(bounds: int | tuple[int, int]) -> int:
    """A size to trace with: not 1 where it is free, which torch.export takes for fixed."""
    return bounds if isinstance(bounds, int) else min(max(bounds[0], 2), bounds[1])
