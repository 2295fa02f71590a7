"""Read .npy and .npz files whose arrays are known, by their headers, to fit before any of them is unpacked.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. A few bytes of an .npz can hold
gigabytes, so an array is read only if its dtype holds numbers, the reader accepts its dtype and shape, and the entry
has as many bytes as these take.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from rectexport.runtime.base.reading import check_regular, open_regular
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.archives import check_archive

SUFFIX = ".npy"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NUMBERS = "?biuf"  # dtype kinds and characters: bool, integers, floats

#: Raises BadInput for an array, by name, dtype and shape, that shall not be read.
Accept = Callable[[str, "np.dtype[Any]", tuple[int, ...]], None]


class TotalBound:
    """Accepts arrays of numbers up to so many elements each and so many bytes in all."""

    def __init__(self, elements: int, total: int) -> None:
        self._elements, self._total, self._left = elements, total, total

    def __call__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Raises BadInput for one that is too large, with those before it."""
        count = math.prod(shape)
        self._left -= count * dtype.itemsize
        if count > self._elements or self._left < 0:
            limits = f"expected at most {self._elements} elements, and {self._total} bytes in all arrays"
            raise BadInput(f"array {name:.100} has shape {list(shape)} of {dtype}: {limits}")


def read_npz(path: Path, accept: Accept, chosen: Callable[[list[str]], Collection[str]] = list) -> dict[str, Array]:
    """The arrays of an .npz by name; `chosen` gets all names and returns those to read.

    Raises BadInput when the file is damaged or ambiguous (see `check_archive`), and for a chosen entry that holds no
    array of numbers, that `accept` refuses, or whose header states another size than it has.
    """
    check_regular(path)
    if not zipfile.is_zipfile(path):
        raise BadInput(f"{path}: not a readable .npz of arrays: it is not a zip archive")
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(SUFFIX): entry for entry in archive.infolist()}
            names = chosen(list(entries))
            for name in names:
                with archive.open(entries[name]) as stream:
                    _check_header(stream, name, entries[name].file_size, accept)
            return {name: _read_entry(archive, entries[name]) for name in names}
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except Exception as error:  # NumPy and zipfile raise anything from BadZipFile to EOFError here
        raise BadInput(f"{path}: not a readable .npz of arrays: {str(error)[:300]}") from None


def read_npy(path: Path, name: str, accept: Accept) -> Array:
    """The array of an .npy; `name` is passed to `accept`. Raises BadInput as `read_npz` does."""
    with open_regular(path) as stream:
        try:
            _check_header(stream, name, path.stat().st_size, accept)
            stream.seek(0)
            return _read_array(stream)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None
        except Exception as error:  # as above
            raise BadInput(f"{path}: not a readable .npy: {str(error)[:300]}") from None


def _check_header(stream: IO[bytes], name: str, size: int, accept: Accept) -> None:
    """Raise BadInput or ValueError unless the header of `stream`, of `size` bytes, states what follows it."""
    version = npy.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"{name:.100} is not an array of numbers: version {version} of the format is for records")
    shape, _, dtype = _READERS[version](stream)
    if dtype.kind not in _NUMBERS or dtype.subdtype is not None:
        raise ValueError(f"{name:.100} is not an array of numbers: its dtype is {dtype!s:.100}")
    if any(length < 0 for length in shape):
        raise ValueError(f"{name:.100} has the negative shape {list(shape)}")
    accept(name, dtype, shape)
    stated, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if stated != held:
        raise ValueError(f"{name:.100} states {stated} bytes, shape {list(shape)} of {dtype}, and holds {held}")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        return _read_array(stream)


def _read_array(stream: IO[bytes]) -> Array:
    array: Array = npy.read_array(stream, allow_pickle=False)
    return array
