"""Reads the inputs of --inputs: an .npz with arrays by name, an .npy for a single input, or a folder of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
#: Prefix of input names in goldens.npz and in the .npz that a failed export keeps; both hold other arrays too.
PREFIX = "input."
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
    """(label, feeds): one for an .npy or .npz, one per batch for a folder of images. Shapes and dtypes are unchecked.

    Raises BadInput for a file that cannot be read or lacks an input, MissingDependency for images without Pillow.
    """
    if path.is_dir():
        yield from _images(path, entries, scaling)
    elif not path.is_file():
        raise BadInput(f"{path}: no such file or folder (--inputs)")
    elif path.suffix == ".npy":
        if len(entries) != 1:
            names = ", ".join(entry.name for entry in entries)
            raise BadInput(f"{path}: one array, but the package takes {names}; give an .npz with these names")
        yield path.name, {entries[0].name: _load(path)}
    else:
        yield path.name, _by_name(path, _load(path), entries)


def _load(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy raises anything from BadZipFile to EOFError here
        raise BadInput(f"{path}: not a readable .npy or .npz, nor a folder of images: {error}") from None
    if not all(isinstance(value, np.ndarray) for value in found.values()):
        raise BadInput(f"{path}: holds an entry that is not an array")
    return found


def _by_name(path: Path, found: Any, entries: Sequence[TensorEntry]) -> dict[str, Array]:
    if isinstance(found, np.ndarray):
        raise BadInput(f"{path}: is an .npy file with another suffix; rename it")
    names = [entry.name for entry in entries]
    if any(name.startswith(PREFIX) for name in found):
        found = {name[len(PREFIX) :]: array for name, array in found.items() if name.startswith(PREFIX)}
    if set(found) != set(names):
        raise BadInput(f"{path}: has arrays {', '.join(found) or 'none'}, expected one for each of {', '.join(names)}")
    return {name: found[name] for name in names}


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
        image = _image(file, int(channels), np.dtype(entry.dtype), scaling)
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


def _image(file: Path, channels: int, dtype: np.dtype[Any], scaling: ImageScaling) -> NDArray[Any]:
    """An image as [C, H, W] in the input's dtype: pixels unchanged for integers, scaled for floats."""
    pillow = require("PIL.Image")
    try:
        with pillow.open(file) as image:
            mode = image.mode
            pixels = np.asarray(image.convert(_MODES[channels]))
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError for a damaged file
        raise BadInput(f"{file}: not a readable image: {error}") from None
    if mode not in _EIGHT_BIT:
        raise BadInput(f"{file}: an image of mode {mode}, expected 8 bits per channel; give an .npz")
    planes = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    if dtype.kind != "f":
        return np.ascontiguousarray(planes.astype(dtype))
    mean, std = (_per_channel(values, channels, file) for values in (scaling.mean, scaling.std))
    return np.ascontiguousarray(((planes / 255.0 - mean) / std).astype(dtype))


def _per_channel(values: tuple[float, ...], channels: int, file: Path) -> NDArray[np.float64]:
    if len(values) not in (1, channels):
        raise BadInput(f"{file}: --mean and --std take 1 or {channels} values, got {len(values)}")
    return np.broadcast_to(np.asarray(values, np.float64), (channels,)).reshape(channels, 1, 1)
