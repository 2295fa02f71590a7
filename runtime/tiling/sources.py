"""Images that are too large for the memory: a TIFF, a NumPy file or a Zarr array, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.arrays.input_files import ImageScaling, read_image
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry

TIFF = (".tif", ".tiff")


class Planes:
    """Pixels [H, W] or [H, W, C], sliced as [1, C, H, W] in the input's dtype; only what is sliced is read."""

    def __init__(self, pixels: Any, entry: TensorEntry, scaling: ImageScaling, name: str) -> None:
        channels = entry.shape[1]
        stored = 1 if len(pixels.shape) == 2 else pixels.shape[-1]
        if len(pixels.shape) not in (2, 3) or len(entry.shape) != 4 or stored != channels:
            expected = f"[H, W, {channels}]" if channels != 1 else "[H, W]"
            raise BadInput(f"{name}: pixels {list(pixels.shape)}, expected {expected} for input {entry.name}")
        self.pixels, self._dtype = pixels, np.dtype(entry.dtype)
        self._scaling = scaling
        self.shape = (1, stored, *pixels.shape[:2])

    def __getitem__(self, place: tuple[Any, ...]) -> Array:
        row, _, high, wide = place
        if row != 0:
            raise IndexError(row)
        pixels: NDArray[Any] = np.asarray(self.pixels[high, wide])
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if self._dtype.kind != "f":
            return planes.astype(self._dtype)
        if pixels.dtype == np.uint8:
            mean, std = (np.asarray(value, np.float64).reshape(-1, 1, 1) for value in self._ranges())
            return ((planes / 255.0 - mean) / std).astype(self._dtype)
        return planes.astype(self._dtype)

    def _ranges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self._scaling.mean, self._scaling.std


def open_image(path: Path, entry: TensorEntry, scaling: ImageScaling) -> Any:
    """The image at `path` as something that is sliced like an array [N, C, H, W].

    An .npy file holds the input as it is, [N, C, H, W] or [C, H, W], and is mapped; a TIFF is mapped where it is stored
    uncompressed; a folder is a Zarr array. 8-bit pixels of float inputs are scaled. Raises BadInput for a file that
    cannot be read or does not fit, and MissingDependency without tifffile or zarr.
    """
    if path.is_dir():
        return Planes(_opened(path, lambda: require("zarr").open_array(str(path), mode="r")), entry, scaling, str(path))
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    check_regular(path)
    if path.suffix == ".npy":
        array = _opened(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
        array = array[None] if array.ndim == len(entry.shape) - 1 else array
        if array.ndim != len(entry.shape) or array.shape[1] != entry.shape[1]:
            raise BadInput(f"{path}: shape {list(array.shape)}, expected {list(entry.shape)} for input {entry.name}")
        return array
    if path.suffix.lower() in TIFF:
        tifffile = require("tifffile")
        return Planes(_opened(path, lambda: _tiff(tifffile, path)), entry, scaling, str(path))
    return read_image(path, entry, scaling, any_size=True)[None]


def _tiff(tifffile: Any, path: Path) -> Any:
    try:
        return tifffile.memmap(path, mode="r")
    except ValueError:  # compressed: it cannot be mapped
        return tifffile.imread(path)


def _opened(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (BadInput, ImportError):
        raise
    except Exception as error:  # each library raises what it likes for a damaged file
        raise BadInput(f"{path}: not a readable image: {str(error)[:200]}") from None
