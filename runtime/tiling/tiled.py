"""Answers an image tile by tile: only one batch of tiles is in memory besides the image and the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np

from rectexport.runtime.base.runner import Array, silent
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.tiling.pages import forget_pages
from rectexport.runtime.tiling.pieces import Piece, cut
from rectexport.runtime.tiling.windows import AxisWindow, read_windows

#: Bytes of tiles after which the pages of mapped files are given back.
MOST_PAGES = 64 << 20
#: Makes an array from an output's name, shape and dtype.
Allocate = Callable[[str, tuple[int, ...], Any], Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Tile:
    """One row of the batch and a piece of each image axis."""

    row: int
    pieces: tuple[Piece, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its sizes along the image's axes."""
        return tuple(piece.size for piece in self.pieces)


def run_tiled(
    run: Run,
    package: Package,
    image: Any,
    tile: int | Sequence[int],
    batch: int = 1,
    out: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = silent,
    allocate: Allocate | None = None,
) -> dict[str, Any]:
    """The outputs for a whole image, computed in tiles.

    image  [N, C, H, W] (or [N, C, L], [N, C, D, H, W]) of the input's dtype: a NumPy array or anything that is sliced
           like one, such as a memory map, which is read tile by tile
    tile   sizes of a tile along the image's axes, or one for all of them
    batch  how many tiles are run at once; tiles of one size only go together
    out    arrays to write the outputs into, by name, such as memory maps
    allocate  makes the array of an output that `out` lacks, from its name, shape and dtype; None: in memory

    Raises BadInput for a package whose outputs have no finite window, and UsageError for a tile that is too small, or
    of a size that the package does not take.
    """
    windows = read_windows(package)
    entry = package.manifest.inputs[0]
    shape = tuple(int(size) for size in image.shape)
    if len(shape) != len(entry.shape):
        raise BadInput(f"input {entry.name}: rank {len(shape)}, expected {len(entry.shape)} ({list(entry.shape)})")
    sides = _sides(tile, len(shape) - 2)
    axes = [
        cut(size, side, {name: found[axis] for name, found in windows.items()})
        for axis, (size, side) in enumerate(zip(shape[2:], sides, strict=True))
    ]
    for axis, pieces in enumerate(axes):
        _check_fit(entry, axis + 2, sides[axis], pieces)
    tiles = [Tile(row, pieces) for row in range(shape[0]) for pieces in product(*axes)]
    results: dict[str, Any] = dict(out or {})
    done = read = 0
    for group in _batches([tiles[-1], *tiles[:-1]], max(batch, 1)):  # the last tile tells how large the outputs are
        feed = np.stack([_cut_out(image, item) for item in group])
        answers = run({entry.name: feed})
        for name, found in windows.items():
            answer = np.asarray(answers[name])
            if name not in results:
                whole = (shape[0], answer.shape[1], *_sizes(answer, group[0], found))
                results[name] = (
                    np.empty(whole, answer.dtype) if allocate is None else allocate(name, whole, answer.dtype)
                )
            for index, item in enumerate(group):
                _paste(results[name], answer[index], item, name, found)
        done, read = done + len(group), read + feed.nbytes
        if read > MOST_PAGES:
            read = 0
            forget_pages(image, *results.values())
        progress(f"{done} of {len(tiles)} tiles")
    return results


def _sides(tile: int | Sequence[int], count: int) -> tuple[int, ...]:
    sides = (tile,) * count if isinstance(tile, int) else tuple(tile)
    if len(sides) != count or any(side < 1 for side in sides):
        raise UsageError(f"tile {tile}: expected {count} sizes from 1, or one for all")
    return sides


def _check_fit(entry: TensorEntry, axis: int, side: int, pieces: Sequence[Piece]) -> None:
    """Raise UsageError for tiles of a size that the package's range, with its step, does not have."""
    bounds, fixed = entry.range, entry.shape[axis]
    for size in sorted({piece.size for piece in pieces}, reverse=True):
        if (isinstance(fixed, int) and size != fixed) or (bounds is not None and not bounds.fits(axis, size)):
            allowed = str(fixed) if bounds is None else bounds.describe(axis) + bounds.nearest(axis, size)
            whole = pieces[-1].stop
            last = f"the last tile of {whole} pixels would be {size}; crop or pad the image, or take another tile: "
            raise UsageError(
                f"tile {side}: {last if size != side else ''}input {entry.name} takes {allowed} along axis {axis}"
            )


def _batches(tiles: Sequence[Tile], batch: int) -> Iterator[list[Tile]]:
    for _, same in groupby(tiles, lambda item: item.sizes):
        items = list(same)
        yield from (items[begin : begin + batch] for begin in range(0, len(items), batch))


def _cut_out(image: Any, item: Tile) -> Array:
    place = (item.row, slice(None), *(slice(piece.start, piece.stop) for piece in item.pieces))
    return np.asarray(image[place])


def _sizes(answer: Array, last: Tile, windows: Sequence[AxisWindow]) -> tuple[int, ...]:
    """Sizes of the whole output, which follow from the last tile."""
    places = (window.place(piece.start) for window, piece in zip(windows, last.pieces, strict=True))
    return tuple(place + size for place, size in zip(places, answer.shape[2:], strict=True))


def _paste(whole: Any, answer: Array, item: Tile, name: str, windows: Sequence[AxisWindow]) -> None:
    into, of = [], []
    for window, piece, size in zip(windows, item.pieces, answer.shape[1:], strict=True):
        place = window.place(piece.start)
        first, end = piece.keep[name]
        last = place + size if end is None else min(end, place + size)
        into.append(slice(first, last))
        of.append(slice(first - place, last - place))
    target, kept = (item.row, slice(None), *into), (slice(None), *of)
    whole[target] = answer[kept]
