"""Arrays as pictures: 8-bit pixels, and PNG files of them without a library for images."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from rectexport.runtime.base.runner import Array

#: Larger pictures are shown with every second, third, … pixel.
MOST_PIXELS = 224


def pixels(array: Array, most: int = MOST_PIXELS) -> Array | None:
    """An image as uint8 [H, W, 1 or 3], its values stretched to 0..255; None where it is no image.

    array   [C, H, W] or [H, W, C] with 1 or 3 channels; of other channels the first is taken
    most    longest side of the result
    """
    if array.ndim != 3 or not array.size:
        return None
    last = array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    planes = np.moveaxis(array, 2, 0) if last else array
    planes = planes if len(planes) == 3 else planes[:1]
    step = max(1, -(-max(planes.shape[1:]) // most))
    values = np.nan_to_num(planes[:, ::step, ::step].astype(np.float64))
    low, high = float(values.min()), float(values.max())
    stretched = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.moveaxis(stretched, 0, 2)


def png_address(image: Array) -> str:
    """Pixels [H, W, 1 or 3], uint8, as the data address of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(_png(image)).decode()}"


def _png(image: Array) -> bytes:
    """Pixels as a PNG file (ISO/IEC 15948)."""
    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
