"""Examples to evaluate a package on: arrays by name, or images in folders with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.arrays.feeds import check_dtype, check_shape
from rectexport.runtime.arrays.input_files import PREFIX, ImageScaling
from rectexport.runtime.arrays.kinds import NUMPY
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.package.numpy_files import Accept, TotalBound, read_npz

LABELS = "labels"
#: Most elements of one array of a file, and bytes of all of them.
MAX_ELEMENTS, MAX_BYTES = 1 << 31, 4 << 30
#: Rows of a batch where the package leaves them open and names no larger usual batch.
ROWS = 32


@dataclass(frozen=True)
class Batch:
    """Some items. feeds has as many rows as names; targets [N, ...] is None for data without labels."""

    names: Sequence[str]
    feeds: Mapping[str, Array]
    targets: Array | None


@dataclass(frozen=True)
class PixelLayout:
    """How an input takes images. last: channels behind the plane, [N, H, W, C]. bgr: blue first."""

    last: bool = False
    bgr: bool = False

    @classmethod
    def of(cls, preprocessing: Any) -> PixelLayout:
        """From the entry `preprocessing` of a manifest; the default where there is none."""
        known = preprocessing if isinstance(preprocessing, Mapping) else {}
        return cls(known.get("layout") == "nhwc", known.get("channels") == "bgr")


class Examples(Protocol):
    """A data set; iterating over it again yields the same items.

    classes   how many folders the labels were numbered by, in alphabetical order; None for labels of another origin
    """

    name: str
    labelled: bool
    classes: int | None

    def __len__(self) -> int:
        """Number of items."""

    def batches(self, rows: int) -> Iterator[Batch]:
        """The items in order, in batches of at most `rows` items of one shape."""


def open_examples(
    data: str | Path | Mapping[str, Any],
    entries: Sequence[TensorEntry],
    labels: Any = None,
    scaling: ImageScaling | None = None,
    layout: PixelLayout | None = None,
) -> Examples:
    """The examples in a folder, an .npz file, or arrays by input name with `labels` among them.

    labels   arrays: the targets. Files: see `folders`; None takes the array `labels`, or the folders' names
    layout   how the input takes images; None: [N, C, H, W], red first

    Raises BadInput for data that cannot be read, is empty, or does not fit the package's inputs.
    """
    if isinstance(data, Mapping):
        arrays = {name: np.asarray(value) for name, value in data.items()}
        return ArrayExamples("arrays", arrays if labels is None else {**arrays, LABELS: np.asarray(labels)}, entries)
    path = Path(data)
    if path.is_dir():
        from rectexport.runtime.evaluation.folders import open_folder

        layout = layout or PixelLayout()
        return open_folder(path, entries, None if labels is None else Path(labels), scaling or ImageScaling(), layout)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder of data")
    if labels is not None:
        raise BadInput(Option("labels"), f": for a folder of images; {path} holds its labels as an array `{LABELS}`")
    return ArrayExamples(str(path), _read(path, entries), entries)


def unused_scaling(data: Any, entries: Sequence[TensorEntry], scaling: ImageScaling) -> str:
    """Why a scaling that was asked for would not be used; empty where it is."""
    if scaling == ImageScaling():
        return ""
    if isinstance(data, Mapping) or Path(data).is_file():
        return "arrays are used as stored; scale them before they are saved"
    if not entries[0].dtype.startswith(("float", "bfloat")):
        return f"input {entries[0].name} takes {entries[0].dtype} pixels, which the package scales itself"
    return ""


def _read(path: Path, entries: Sequence[TensorEntry]) -> dict[str, Array]:
    names = [entry.name for entry in entries]

    def chosen(stored: list[str]) -> list[str]:
        prefix = PREFIX if any(name.startswith(PREFIX) for name in stored) else ""
        wanted = [f"{prefix}{name}" for name in names]
        absent = [name for name in wanted if name not in stored]
        if absent:
            raise BadInput(f"has no array {absent[0]}, only {', '.join(stored)[:300] or 'none'}; see numpy.savez")
        return [*wanted, *([LABELS] if LABELS in stored else [])]

    arrays = read_npz(path, _accept(entries), chosen)
    return {name if name == LABELS else name.removeprefix(PREFIX): array for name, array in arrays.items()}


def _accept(entries: Sequence[TensorEntry]) -> Accept:
    """Refuses arrays that the package does not take, by their headers; any number of rows will do."""
    known = {f"{prefix}{entry.name}": free_rows(entry) for entry in entries for prefix in (PREFIX, "")}
    total = TotalBound(MAX_ELEMENTS, MAX_BYTES)

    def accept(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if name in known:
            check_dtype(known[name], dtype.name, NUMPY.cast)
            if shape[:1] == (0,):
                raise BadInput(f"input {name} holds no items")
            check_shape(known[name], shape, {})
        total(name, dtype, shape)

    return accept


class ArrayExamples:
    """Arrays by input name, one row an item; the array `labels` holds their targets."""

    def __init__(self, name: str, arrays: Mapping[str, Array], entries: Sequence[TensorEntry]) -> None:
        """Raises BadInput for names, dtypes or shapes that the package does not take."""
        self.name = name
        self.classes: int | None = None
        self._targets = arrays.get(LABELS) if all(entry.name != LABELS for entry in entries) else None
        self._feeds = {entry.name: self._checked(entry, arrays) for entry in entries}
        self.labelled = self._targets is not None
        counts = {key: len(array) for key, array in self._feeds.items()}
        if self._targets is not None:
            counts[LABELS] = len(self._targets) if self._targets.ndim else 0
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise BadInput(f"{name}: arrays have different numbers of rows: {found}")
        self._count = next(iter(counts.values()))

    def _checked(self, entry: TensorEntry, arrays: Mapping[str, Array]) -> Array:
        if entry.name not in arrays:
            raise BadInput(f"{self.name}: input {entry.name} is missing; got {', '.join(arrays) or 'nothing'}")
        array = arrays[entry.name]
        if array.ndim and not len(array):
            raise BadInput(f"{self.name}: input {entry.name} holds no items")
        try:
            check_dtype(entry, array.dtype.name, NUMPY.cast)
            check_shape(free_rows(entry), array.shape, {})
        except BadInput as error:
            raise BadInput(f"{self.name}: {error}") from None
        return array

    def __len__(self) -> int:
        return self._count

    def batches(self, rows: int) -> Iterator[Batch]:
        for start in range(0, self._count, rows):
            part = slice(start, min(start + rows, self._count))
            feeds = {name: array[part] for name, array in self._feeds.items()}
            targets = None if self._targets is None else self._targets[part]
            yield Batch([f"item {index}" for index in range(part.start, part.stop)], feeds, targets)


def free_rows(entry: TensorEntry) -> TensorEntry:
    """The input with any number of rows. Raises BadInput for one without a batch axis."""
    if not entry.shape:
        raise BadInput(f"input {entry.name} is a scalar, so the package does not take one row an item")
    bounds = entry.range
    if bounds is not None:
        bounds = replace(bounds, min=(1, *bounds.min[1:]), max=(MAX_ELEMENTS, *bounds.max[1:]))
    return replace(entry, shape=("items", *entry.shape[1:]), range=bounds)


def batch_rows(entries: Sequence[TensorEntry]) -> tuple[int, int]:
    """(most, least) rows that one run of the package takes; equal where the batch is fixed."""
    entry = free_first(entries)
    rows = entry.shape[0]
    if isinstance(rows, int):
        return rows, rows
    if entry.range is None:
        return ROWS, 1
    return min(max(entry.range.opt[0], ROWS), entry.range.max[0]), entry.range.min[0]


def free_first(entries: Sequence[TensorEntry]) -> TensorEntry:
    """The first input; it must have a batch axis."""
    free_rows(entries[0])
    return entries[0]


def padded(feeds: Mapping[str, Array], least: int) -> dict[str, Array]:
    """The feeds with at least so many rows: what lacks is filled with their own rows."""
    return {name: np.resize(array, (max(len(array), least), *array.shape[1:])) for name, array in feeds.items()}


def stacked(targets: Sequence[NDArray[Any]]) -> Array:
    """Targets of equal shapes as one array. Raises BadInput where shapes differ."""
    shapes = {array.shape for array in targets}
    if len(shapes) > 1:
        raise BadInput(f"labels of one batch have different shapes: {', '.join(str(list(shape)) for shape in shapes)}")
    return np.stack(targets)
