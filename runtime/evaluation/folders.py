"""Images in folders, with labels from the folders' names or from a CSV file.

One folder a class     classes are the folders' names in alphabetical order, as torchvision's ImageFolder has them; a
                       text file given as labels lists the names in the order of the model's outputs instead
Images with a CSV      one row an image: its path, and a class number or the path of a target: an image or an .npy
Images alone           data without labels
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.arrays.input_files import MAX_PIXELS, SUFFIXES, ImageScaling, read_image, read_label_image
from rectexport.runtime.base.reading import open_regular
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.evaluation.examples import Batch, Examples, PixelLayout, stacked
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.package.numpy_files import SUFFIX, TotalBound, read_npy

#: First cells of a CSV's first row that name the column instead of an image.
_HEADINGS = ("image", "images", "file", "filename", "path", "name", "img")
_MAX_TEXT = 64 << 20


@dataclass(frozen=True)
class Item:
    """An image and its label: a class, or the path of a target; None for data without labels."""

    name: str
    image: Path
    label: int | Path | None


class ImageExamples:
    """Images of one input [N, 1 or 3, H, W]. classes: see Examples."""

    def __init__(
        self,
        name: str,
        items: Sequence[Item],
        entry: TensorEntry,
        scaling: ImageScaling,
        layout: PixelLayout,
        classes: int | None,
    ) -> None:
        self.name, self._items, self._entry, self._scaling, self.classes = name, items, entry, scaling, classes
        self._layout = layout
        self.labelled = all(item.label is not None for item in items)

    def __len__(self) -> int:
        return len(self._items)

    def batches(self, rows: int) -> Iterator[Batch]:
        pending: list[tuple[Item, NDArray[Any]]] = []
        for item in self._items:
            image = self._arranged(read_image(item.image, self._entry, self._scaling))
            if pending and (len(pending) == rows or pending[-1][1].shape != image.shape):
                yield self._batch(pending)
                pending = []
            pending.append((item, image))
        yield self._batch(pending)

    def _arranged(self, image: NDArray[Any]) -> NDArray[Any]:
        """[C, H, W], red first, as the package takes it."""
        image = image[::-1] if self._layout.bgr else image
        return np.ascontiguousarray(image.transpose(1, 2, 0) if self._layout.last else image)

    def _batch(self, pending: Sequence[tuple[Item, NDArray[Any]]]) -> Batch:
        targets = stacked([_target(item) for item, _ in pending]) if self.labelled else None
        images = np.stack([image for _, image in pending])
        return Batch([item.name for item, _ in pending], {self._entry.name: images}, targets)


def open_folder(
    folder: Path, entries: Sequence[TensorEntry], labels: Path | None, scaling: ImageScaling, layout: PixelLayout
) -> Examples:
    """The images of a folder with their labels. Raises BadInput where they cannot be told, naming the file."""
    axis = 3 if layout.last else 1
    if len(entries) != 1 or len(entries[0].shape) != 4 or entries[0].shape[axis] not in (1, 3):
        shapes = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in entries)
        raise BadInput(
            f"{folder}: images need a single input [N, 1 or 3, H, W], but the package takes {shapes}; give an .npz"
        )
    classes = None
    if labels is not None and labels.suffix.lower() == ".csv":
        items = list(_table(labels, folder))
        if not items:
            raise BadInput(f"{labels}: lists no image")
    else:
        items = _by_class(folder, None if labels is None else _class_names(labels))
        classes = len({item.label for item in items} - {None}) if labels is None else None
    if not items:
        raise BadInput(f"{folder}: holds no image ({' '.join(SUFFIXES)})")
    # A fixed batch is filled up with other rows, so images are checked one by one.
    entry = _channels_first(entries[0]) if layout.last else entries[0]
    single = replace(entry, shape=(1, *entry.shape[1:]), range=_one_row(entry))
    return ImageExamples(str(folder), items, single, scaling, layout, classes or None)


def _channels_first(entry: TensorEntry) -> TensorEntry:
    """An input [N, H, W, C] as [N, C, H, W], which images are read as."""
    order, bounds = (0, 3, 1, 2), entry.range
    sides = ("min", "opt", "max", *(("step",) if bounds and bounds.step else ()))
    turned = {side: tuple(getattr(bounds, side)[axis] for axis in order) for side in sides if bounds}
    return replace(entry, shape=tuple(entry.shape[axis] for axis in order), range=bounds and replace(bounds, **turned))


def _one_row(entry: TensorEntry) -> Any:
    bounds = entry.range
    return bounds and replace(bounds, **{side: (1, *getattr(bounds, side)[1:]) for side in ("min", "opt", "max")})


def _by_class(folder: Path, names: Sequence[str] | None) -> list[Item]:
    """Images in one folder a class, or right in the folder and without labels."""
    own = [Item(path.name, path, None) for path in sorted(folder.iterdir()) if _is_image(path)]
    classes = [path for path in sorted(folder.iterdir()) if path.is_dir() and any(map(_is_image, path.rglob("*")))]
    if own and classes:
        raise BadInput(
            f"{folder}: holds images and the folder {classes[0].name}; expected images alone, or one folder a class"
        )
    order = [path.name for path in classes] if names is None else list(names)
    found = list(own)
    for path in classes:
        if path.name not in order:
            raise BadInput(f"{path}: no class of this name; ", Option("labels"), f" lists {', '.join(order)[:300]}")
        label = order.index(path.name)
        images = sorted(image for image in path.rglob("*") if _is_image(image))
        found += [Item(str(image.relative_to(folder)), image, label) for image in images]
    if own and names is not None:
        raise BadInput(
            f"{folder}: ", Option("labels"), " lists classes, and the images lie in no folders of these names"
        )
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _class_names(path: Path) -> list[str]:
    """One name a line, in the order of the model's outputs."""
    names = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not names or len(set(names)) < len(names):
        raise BadInput(f"{path}: expected one class name a line, each once, or a .csv of images and labels")
    return names


def _text(path: Path) -> str:
    with open_regular(path) as stream:
        data = stream.read(_MAX_TEXT + 1)
    if len(data) > _MAX_TEXT:
        raise BadInput(f"{path}: more than {_MAX_TEXT} bytes; labels are a text file")
    try:
        return str(data, "utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a text file in UTF-8") from None


def _table(path: Path, folder: Path) -> Iterator[Item]:
    """Rows of a CSV; paths are relative to `folder`, or to the CSV's own."""
    try:
        rows = list(csv.reader(_text(path).splitlines()))
    except csv.Error as error:
        raise BadInput(f"{path}: not a CSV file: {error}") from None
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0].strip().lower() in _HEADINGS):
            continue
        where = f"{path}, line {number}"
        if len(row) < 2:
            raise BadInput(
                f"{where}: expected an image and its label, separated by a comma, got {','.join(row)[:100]!r}"
            )
        image = _found(row[0].strip(), folder, path.parent)
        if image is None:
            raise BadInput(f"{where}: no image {row[0].strip()[:200]!r} in {folder} or beside the CSV{_first(number)}")
        yield Item(row[0].strip(), image, _label(row[1].strip(), folder, path.parent, where))


def _first(number: int) -> str:
    """What to do if a first line that is not found was a heading."""
    return f"; a heading's first cell is one of {', '.join(_HEADINGS)}" if number == 1 else ""


def _label(text: str, folder: Path, beside: Path, where: str) -> int | Path:
    if text.lstrip("-").isdecimal():
        return int(text)
    target = _found(text, folder, beside)
    if target is None:
        raise BadInput(
            f"{where}: label {text[:200]!r} is neither a class number nor the path of a target; number classes from 0 "
            "in the order of the model's outputs"
        )
    return target


def _found(name: str, *folders: Path) -> Path | None:
    return next((folder / name for folder in folders if name and (folder / name).is_file()), None)


def _target(item: Item) -> NDArray[Any]:
    """A class as int64 [], a mask as uint8 [H, W], a colour picture as uint8 [3, H, W], or the array of an .npy."""
    assert item.label is not None
    if isinstance(item.label, int):
        return np.asarray(item.label, np.int64)
    if item.label.suffix == SUFFIX:
        return read_npy(item.label, "label", TotalBound(MAX_PIXELS * 4, MAX_PIXELS * 32))
    return read_label_image(item.label)
