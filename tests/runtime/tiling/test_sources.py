"""Large images are opened without being read, and sliced as the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.tiling.sources import Planes, open_image

FLOAT = TensorEntry("x", "float32", (1, 3, "h", "w"))
BYTE = TensorEntry("x", "uint8", (1, 1, "h", "w"))
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
PLACE = (0, slice(None), slice(4, 9), slice(10, 30))
SCALING = ImageScaling((0.5, 0.4, 0.3), (0.2,))


def scaled(pixels: Any) -> Any:
    mean = np.reshape([0.5, 0.4, 0.3], (3, 1, 1))
    return ((pixels.transpose(2, 0, 1) / 255.0 - mean) / 0.2).astype(np.float32)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff(tmp_path: Path, compression: str | None) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "scan.tif", PIXELS, compression=compression)
    image = open_image(tmp_path / "scan.tif", FLOAT, SCALING)
    assert image.shape == (1, 3, 20, 30)
    np.testing.assert_array_equal(image[PLACE], scaled(PIXELS[4:9, 10:30]))


def test_a_zarr_array(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    stored = zarr.open_array(str(tmp_path / "scan.zarr"), mode="w", shape=(20, 30), chunks=(8, 8), dtype="uint8")
    stored[:] = PIXELS[..., 0]
    image = open_image(tmp_path / "scan.zarr", BYTE, SCALING)
    assert image.shape == (1, 1, 20, 30)
    np.testing.assert_array_equal(image[PLACE], PIXELS[None, 4:9, 10:30, 0])


def test_an_npy_file_is_mapped_and_taken_as_it_is(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 20, 30)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    image = open_image(tmp_path / "x.npy", FLOAT, SCALING)
    assert isinstance(image, np.memmap)
    np.testing.assert_array_equal(image[PLACE], x[:, 4:9, 10:30])


def test_float_pixels_are_not_scaled() -> None:
    pixels = np.full((4, 4, 3), 2.5)
    np.testing.assert_array_equal(Planes(pixels, FLOAT, SCALING, "x")[0, :, 0:2, 0:2], np.full((3, 2, 2), 2.5))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.npy", b"no array", "not a readable image"),
        ("x.tif", b"no image", "not a readable image"),
        ("missing.tif", None, "no such file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    pytest.importorskip("tifffile")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said):
        open_image(tmp_path / name, FLOAT, SCALING)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (1, 4, 4, 3)])
def test_pixels_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"expected \[H, W, 3\]"):
        Planes(np.zeros(shape, np.uint8), FLOAT, SCALING, "x")


def test_an_array_that_does_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 8, 8), np.float32))
    with pytest.raises(BadInput, match=r"shape \[1, 4, 8, 8\], expected \[1, 3, 'h', 'w'\] for input x"):
        open_image(tmp_path / "x.npy", FLOAT, SCALING)
