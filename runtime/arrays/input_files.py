"""Reads the inputs of --inputs: an .npz with arrays by name, an .npy for a single input, or a folder of images.

A few bytes can hold a huge array or image, so dtypes and sizes are compared with what the package takes before
anything is unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from rectexport.runtime.arrays.feeds import check_dtype, check_shape
from rectexport.runtime.arrays.kinds import NUMPY
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.reading import check_regular, open_regular
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.package.numpy_files import SUFFIX, Accept, TotalBound, read_npy, read_npz

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
#: Prefix of input names in goldens.npz and in the .npz that a failed export keeps; both hold other arrays too.
PREFIX = "input."
#: Most elements of one array and bytes of all arrays of a file, also where the package bounds no size.
MAX_ELEMENTS, MAX_BYTES = 1 << 28, 1 << 30
#: Most bytes of an image's file, and pixels where the package bounds no size.
MAX_IMAGE_BYTES, MAX_PIXELS = 256 << 20, 1 << 25
#: Pillow's names of the formats with the suffixes above; it knows others, of which one runs another program.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class ImageScaling:
    """Scaling of 8-bit pixels: (pixel / 255 - mean) / std, with one value per channel or one for all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def read_inputs(
    path: Path, entries: Sequence[TensorEntry], scaling: ImageScaling = ImageScaling()
) -> Iterator[tuple[str, dict[str, Array]]]:
    """(label, feeds): one for an .npy or .npz, one per batch for a folder of images.

    Raises BadInput for a file that cannot be read, lacks an input, or has arrays or images that the package does not
    take; MissingDependency for images without Pillow.
    """
    if path.is_dir():
        yield from _images(path, entries, scaling)
        return
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder (--inputs)")
    check_regular(path)
    if path.suffix == SUFFIX:
        if len(entries) != 1:
            names = ", ".join(entry.name for entry in entries)
            raise BadInput(f"{path}: one array, but the package takes {names}; give an .npz with these names")
        yield path.name, {entries[0].name: read_npy(path, entries[0].name, _accept(entries))}
    else:
        yield path.name, _by_name(path, entries)


def _by_name(path: Path, entries: Sequence[TensorEntry]) -> dict[str, Array]:
    with open_regular(path) as stream:
        if stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            raise BadInput(f"{path}: is an .npy file with another suffix; rename it")
    names = [entry.name for entry in entries]

    def chosen(stored: list[str]) -> list[str]:
        prefix = PREFIX if any(name.startswith(PREFIX) for name in stored) else ""
        found = [name.removeprefix(prefix) for name in stored if name.startswith(prefix)]
        if set(found) != set(names):
            raise BadInput(f"has arrays {', '.join(found) or 'none'}, expected one for each of {', '.join(names)}")
        return [f"{prefix}{name}" for name in names]

    return dict(zip(names, read_npz(path, _accept(entries), chosen).values(), strict=True))


def _accept(entries: Sequence[TensorEntry]) -> Accept:
    """Refuses arrays that the package does not take; names are the package's, with or without PREFIX."""
    known = {f"{prefix}{entry.name}": entry for entry in entries for prefix in (PREFIX, "")}
    total = TotalBound(MAX_ELEMENTS, MAX_BYTES)
    sizes: dict[str, tuple[int, str]] = {}

    def accept(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        check_dtype(known[name], dtype.name, NUMPY.cast)
        check_shape(known[name], shape, sizes)
        total(name, dtype, shape)

    return accept


def _images(folder: Path, entries: Sequence[TensorEntry], scaling: ImageScaling) -> Iterator[tuple[str, Any]]:
    """Batches of consecutive images of equal size. A fixed batch that is not full repeats its own images."""
    channels = entries[0].shape[1] if len(entries) == 1 and len(entries[0].shape) == 4 else 0
    if channels not in _MODES:
        shapes = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in entries)
        raise BadInput(
            f"{folder}: images need a single input [N, 1 or 3, H, W], but the package takes {shapes}; give an .npz"
        )
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"{folder}: holds no image ({' '.join(SUFFIXES)})")
    entry = entries[0]
    size, fixed = _batch(entry)
    pending: list[tuple[Path, NDArray[Any]]] = []
    for file in files:
        image = read_image(file, entry, scaling)
        if pending and (len(pending) == size or pending[-1][1].shape != image.shape):
            yield _stack(entry.name, pending, size if fixed else 0)
            pending = []
        pending.append((file, image))
    yield _stack(entry.name, pending, size if fixed else 0)


def _batch(entry: TensorEntry) -> tuple[int, bool]:
    rows = entry.shape[0]
    if isinstance(rows, int):
        return rows, True
    return (entry.range.opt[0] if entry.range else 1), False


def _stack(name: str, images: Sequence[tuple[Path, NDArray[Any]]], rows: int) -> tuple[str, dict[str, Array]]:
    first, last = images[0][0].name, images[-1][0].name
    chosen = [images[index % len(images)][1] for index in range(max(rows, len(images)))]
    return (first if len(images) == 1 else f"{first} … {last}"), {name: np.stack(chosen)}


def read_image(file: Path, entry: TensorEntry, scaling: ImageScaling, any_size: bool = False) -> NDArray[Any]:
    """An image as [C, H, W] in the input's dtype: pixels unchanged for integers, scaled for floats.

    Raises BadInput for an image that cannot be read, or, unless any_size, one that the package does not take;
    MissingDependency without Pillow.
    """
    if len(entry.shape) != 4 or entry.shape[1] not in _MODES:
        raise BadInput(f"{file}: images need an input [N, 1 or 3, H, W], but {entry.name} is {list(entry.shape)}")
    channels, dtype = int(entry.shape[1]), np.dtype(entry.dtype)
    pixels = _pixels(file, entry, channels, any_size)
    planes = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    if dtype.kind != "f":
        return np.ascontiguousarray(planes.astype(dtype))
    mean, std = (_per_channel(values, channels, file) for values in (scaling.mean, scaling.std))
    return np.ascontiguousarray(((planes / 255.0 - mean) / std).astype(dtype))


def read_label_image(file: Path) -> NDArray[Any]:
    """The values of a gray or indexed image, [H, W], or the pixels of a colour image, [3, H, W]; uint8.

    Raises BadInput for a file that is no 8-bit image, MissingDependency without Pillow.
    """

    def read(image: Any) -> NDArray[Any]:
        _check_mode(file, image.mode)
        _check_pixels(file, *image.size)
        flat = image.mode in ("L", "P", "1")  # the values of an indexed image are the classes, not its colours
        return np.asarray(image if flat else image.convert("RGB"), np.uint8)

    pixels = _opened(file, read)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pixels(file: Path, entry: TensorEntry, channels: int, any_size: bool) -> NDArray[Any]:
    """The pixels as [H, W] or [H, W, 3], unpacked once the image's header shows a size that the package takes."""

    def read(image: Any) -> NDArray[Any]:
        _check_image(file, entry, image.size, image.mode, any_size)
        return np.asarray(image.convert(_MODES[channels]))

    return _opened(file, read)


def _opened(file: Path, read: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    """What `read` takes from Pillow's image, whose header alone has been read."""
    pillow = require("PIL.Image")
    with open_regular(file) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > MAX_IMAGE_BYTES:
            raise BadInput(f"{file}: {size} bytes, more than the {MAX_IMAGE_BYTES} that an image may have")
        try:
            with pillow.open(stream, formats=_FORMATS) as image:
                return read(image)
        except BadInput:
            raise
        except Exception as error:  # Pillow raises anything from OSError to SyntaxError for a damaged file
            raise BadInput(f"{file}: not a readable image: {error}") from None


def _check_image(file: Path, entry: TensorEntry, size: tuple[int, int], mode: str, any_size: bool) -> None:
    """Raise BadInput unless the package takes an image of this size, [W, H] in pixels, and of this mode of Pillow's."""
    _check_mode(file, mode)
    width, height = size
    rows = entry.range.min[0] if entry.range else 1
    shape = (entry.shape[0] if isinstance(entry.shape[0], int) else rows, int(entry.shape[1]), height, width)
    try:
        if not any_size:
            check_shape(entry, shape, {})
    except BadInput as error:
        raise BadInput(f"{file}: {error}, an image {width} pixels wide and {height} high") from None
    _check_pixels(file, width, height)


def _check_mode(file: Path, mode: str) -> None:
    if mode not in _EIGHT_BIT:
        raise BadInput(f"{file}: an image of mode {mode}, expected 8 bits per channel; give an .npz")


def _check_pixels(file: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadInput(f"{file}: {width} x {height} pixels, expected at most {MAX_PIXELS} in all")


def _per_channel(values: tuple[float, ...], channels: int, file: Path) -> NDArray[np.float64]:
    if len(values) not in (1, channels):
        raise BadInput(
            f"{file}: ", Option("mean"), " and ", Option("std"), f" take 1 or {channels} values, got {len(values)}"
        )
    return np.broadcast_to(np.asarray(values, np.float64), (channels,)).reshape(channels, 1, 1)
