"""Inputs from files: by name, a single array, or a folder of images; and errors for other files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.arrays import input_files
from rectexport.runtime.arrays.input_files import ImageScaling, read_inputs
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.package.manifest import TensorEntry

X = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
ONE = [TensorEntry("x", "float32", (1, 3, 2, 2))]
TWO = [*ONE, TensorEntry("y", "float32", (1,))]
GREY = [TensorEntry("x", "float32", ("batch", 1, "h", "w"), ShapeRange((1, 1, 1, 1), (2, 1, 4, 4), (8, 1, 9, 9)))]
AS_THEY_ARE = ImageScaling()
COLOUR = [TensorEntry("x", "float32", (2, 3, 4, 5))]


def read(path: Path, entries: list[TensorEntry], scaling: ImageScaling = AS_THEY_ARE) -> dict[str, Any]:
    return dict(read_inputs(path, entries, scaling))


def refused(path: Path, entries: list[TensorEntry], scaling: ImageScaling = AS_THEY_ARE) -> str:
    with pytest.raises(BadInput) as error:
        read(path, entries, scaling)
    assert str(path) in str(error.value)
    return str(error.value)


def test_an_array_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    found = read(tmp_path / "x.npy", ONE)
    assert list(found) == ["x.npy"] and list(found["x.npy"]) == ["x"]
    np.testing.assert_array_equal(found["x.npy"]["x"], X)
    assert "one array, but the package takes x, y; give an .npz" in refused(tmp_path / "x.npy", TWO)


def test_arrays_are_taken_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", y=X[0, 0, 0, :1], x=X)
    assert list(read(tmp_path / "a.npz", TWO)["a.npz"]) == ["x", "y"]
    assert "has arrays y, x, expected one for each of x" in refused(tmp_path / "a.npz", ONE)


def test_goldens_and_kept_failures_are_inputs_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "goldens.npz", **{"input.x": X, "output.y": X})
    np.testing.assert_array_equal(read(tmp_path / "goldens.npz", ONE)["goldens.npz"]["x"], X)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "no such file or folder (--inputs)" in refused(tmp_path / "missing.npz", ONE)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    assert "not a readable .npz of arrays: it is not a zip archive" in refused(tmp_path / "bad.npz", ONE)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    assert "objects.npy: not a readable .npy: x is not an array of numbers" in refused(tmp_path / "objects.npy", ONE)
    np.save(tmp_path / "array.npy", X)
    renamed = (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    assert "is an .npy file with another suffix" in refused(renamed, ONE)


def picture(path: Path, *shape: int, seed: int = 0) -> Any:
    images = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    images.fromarray(pixels).save(path)
    return pixels


def test_grey_images_are_scaled_to_0_1_and_batched_with_neighbours_of_their_size(tmp_path: Path) -> None:
    pixels = [
        picture(tmp_path / f"{name}.png", *size) for name, size in zip("dcba", [(4, 5)] * 3 + [(6, 5)], strict=True)
    ]
    (tmp_path / "notes.txt").write_text("no image")
    found = read(tmp_path, GREY)
    assert list(found) == ["a.png", "b.png … c.png", "d.png"]
    assert [feeds["x"].shape for feeds in found.values()] == [(1, 1, 6, 5), (2, 1, 4, 5), (1, 1, 4, 5)]
    np.testing.assert_array_equal(found["d.png"]["x"][0, 0], (pixels[0] / 255).astype(np.float32))
    assert found["a.png"]["x"].dtype == np.float32


def test_colour_images_are_normalized_by_channel_and_fill_a_fixed_batch(tmp_path: Path) -> None:
    pixels = [picture(tmp_path / f"{index}.png", 4, 5, 3, seed=index) for index in range(3)]
    found = read(tmp_path, COLOUR, ImageScaling((0.1, 0.2, 0.3), (0.5, 1.0, 2.0)))
    assert [feeds["x"].shape for feeds in found.values()] == [(2, 3, 4, 5)] * 2
    first = found["0.png … 1.png"]["x"]
    wanted = (pixels[1] / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(first[1].transpose(1, 2, 0), wanted, rtol=1e-6)
    last = found["2.png"]["x"]
    np.testing.assert_array_equal(last[0], last[1])  # filled up with its own image


def test_integer_inputs_get_unscaled_pixels(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", 4, 5, 3)
    found = read(tmp_path, [TensorEntry("x", "uint8", (1, 3, 4, 5))])["a.png"]["x"]
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), pixels)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert "holds no image (.png" in refused(tmp_path, GREY)
    assert "images need a single input [N, 1 or 3, H, W], but the package takes x [1, 3, 2, 2], y [1]" in refused(
        tmp_path, TWO
    )
    pytest.importorskip("PIL.Image")
    (tmp_path / "a.png").write_bytes(b"\x89PNG nothing")
    assert "a.png: not a readable image" in refused(tmp_path, GREY)
    picture(tmp_path / "a.png", 4, 5)
    assert "mean and std take 1 or 1 values, got 3" in refused(tmp_path, GREY, ImageScaling((0.1, 0.2, 0.3)))


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    images.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000).save(tmp_path / "deep.png")
    assert "expected 8 bits per channel" in refused(tmp_path, GREY)


def test_images_without_pillow_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rectexport\[parity\]'"):
        read(tmp_path, GREY)


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((1, 3, 2, 3), "float32", "input x, axis 3: expected 2, got 3"),
        ((1, 3, 2), "float32", "expected shape"),
        ((1, 3, 2, 2), "float64", "expected dtype float32, got float64; cast it with .astype"),
    ],
)
def test_arrays_that_the_package_does_not_take(tmp_path: Path, shape: tuple[int, ...], dtype: str, said: str) -> None:
    array = np.zeros(shape, dtype)
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    np.savez_compressed(tmp_path / "goldens.npz", **{"input.x": array, "output.y": array})
    for name in ("x.npy", "a.npz", "goldens.npz"):
        assert said in refused(tmp_path / name, ONE)


def test_an_inflated_array_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the array must not be read")

    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((9, 1, 1, 1), np.float32))
    np.save(tmp_path / "a.npy", np.zeros((9, 1, 1, 1), np.float32))
    monkeypatch.setattr("numpy.lib.format.read_array", refuse)
    for name in ("a.npz", "a.npy"):
        assert "input x, axis 0: expected 1..8, got 9" in refused(tmp_path / name, GREY)


def test_without_a_range_arrays_are_bounded_by_their_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MAX_ELEMENTS", 9)
    for length in (9, 10):
        np.savez(tmp_path / f"{length}.npz", x=np.zeros(length, np.float32))
    free = [TensorEntry("x", "float32", ("n",))]
    assert read(tmp_path / "9.npz", free)["9.npz"]["x"].shape == (9,)
    assert "expected at most 9 elements" in refused(tmp_path / "10.npz", free)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".pgm"])
@pytest.mark.parametrize(("height", "width"), [(10, 4), (4, 10)])
def test_an_image_is_refused_by_its_size_before_it_is_unpacked(
    tmp_path: Path, suffix: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pytest.importorskip("PIL.Image")
    picture(tmp_path / f"a{suffix}", height, width)

    def refuse(*_: object) -> None:
        pytest.fail("the pixels must not be unpacked")

    monkeypatch.setattr(images.Image, "convert", refuse)
    said = refused(tmp_path, GREY)
    assert f"a{suffix}: input x, axis {2 if height == 10 else 3}: expected 1..9, got 10" in said
    assert f", an image {width} pixels wide and {height} high" in said


def test_without_a_range_images_are_bounded_by_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", 4, 5)
    free = [TensorEntry("x", "float32", ("n", 1, "h", "w"))]
    assert read(tmp_path, free)["a.png"]["x"].shape == (1, 1, 4, 5)
    monkeypatch.setattr(input_files, "MAX_PIXELS", 19)
    assert "5 x 4 pixels, expected at most 19" in refused(tmp_path, free)


def test_what_is_no_image_of_a_listed_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands an EPS file, whatever its suffix, to Ghostscript."""
    pytest.importorskip("PIL.Image")
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n%%EndComments\n")
    assert "a.png: not a readable image: cannot identify" in refused(tmp_path, GREY)
    picture(tmp_path / "a.png", 4, 5)
    monkeypatch.setattr(input_files, "MAX_IMAGE_BYTES", 10)
    assert "more than the 10 that an image may have" in refused(tmp_path, GREY)


def test_pipes_in_place_of_arrays_and_images(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    for name in ("a.npz", "a.npy", "a.png"):
        os.mkfifo(tmp_path / name)
        assert f"{name}: is a pipe" in refused(tmp_path / name, GREY)
    assert "a.png: is a pipe" in refused(tmp_path, GREY)
