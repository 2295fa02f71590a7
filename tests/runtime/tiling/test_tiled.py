"""An image answered in tiles is answered as the whole image is; a window that is one pixel short shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.tiling.tiled import run_tiled
from rectexport.runtime.tiling.windows import FIELD, AxisWindow

Image = NDArray[np.float64]
RADIUS = 2


def dense(image: Image) -> Image:
    """Sums over 5 x 5 pixels with zeros beyond the border."""
    padded = np.pad(image, ((0, 0), (0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))
    return windows.sum(axis=(4, 5))


def blurred(image: Image) -> Image:
    """The same at every second pixel."""
    return dense(image)[:, :, ::2, ::2]


def repeated(image: Image) -> Image:
    """Every pixel four times, as nearest upsampling by 2 does."""
    return image.repeat(2, 2).repeat(2, 3)


def window(stride: Any, low: Any, high: Any, align: int = 2) -> dict[str, Any]:
    return AxisWindow(Fraction(stride), Fraction(low), Fraction(high), align).as_dict()


NETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dense": (dense, window(1, -RADIUS, RADIUS, 1)),
    "blurred": (blurred, window(2, -RADIUS, RADIUS)),
    "repeated": (repeated, window(Fraction(1, 2), Fraction(-1, 2), 0)),
}


def package(*outputs: str, **changed: dict[str, Any]) -> Any:
    entries = {name: {"axes": [changed.get(name, NETS[name][1])] * 2} for name in outputs}
    manifest = SimpleNamespace(
        inputs=(TensorEntry("x", "float64", ("n", 3, "h", "w")),),
        outputs=tuple(TensorEntry(name, "float64", ("n", 3, "a", "b")) for name in outputs),
        data={FIELD: entries},
    )
    return SimpleNamespace(path=Path("net"), manifest=manifest)


def answers(*outputs: str) -> Any:
    return lambda feeds: {name: NETS[name][0](feeds["x"]) for name in outputs}


def image(*shape: int) -> Image:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("size", [(9, 14), (16, 16), (31, 23), (40, 17)])
@pytest.mark.parametrize("tile", [10, (12, 16), 100])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_answer_as_the_whole_image_does(size: tuple[int, int], tile: Any, batch: int) -> None:
    x, names = image(2, 3, *size), ("blurred", "repeated")
    found = run_tiled(answers(*names), package(*names), x, tile, batch)
    for name in names:
        np.testing.assert_allclose(found[name], NETS[name][0](x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("short", [{"low": str(1 - RADIUS)}, {"high": str(RADIUS - 1)}])
def test_a_window_that_is_one_pixel_short_shows(short: dict[str, str]) -> None:
    x = image(1, 3, 40, 40)
    right = run_tiled(answers("dense"), package("dense"), x, 10)["dense"]
    wrong = run_tiled(answers("dense"), package("dense", dense={**NETS["dense"][1], **short}), x, 10)["dense"]
    assert np.abs(right - dense(x)).max() < 1e-12
    assert np.abs(wrong - dense(x)).max() > 0.1


def test_tiles_of_one_size_are_run_together() -> None:
    seen = []

    def run(feeds: Any) -> Any:
        seen.append(feeds["x"].shape)
        return answers("blurred")(feeds)

    run_tiled(run, package("blurred"), image(1, 3, 40, 40), 20, 4)
    assert {shape[2:] for shape in seen} == {(20, 20)} and max(shape[0] for shape in seen) == 4


def test_outputs_are_written_where_the_caller_says(tmp_path: Path) -> None:
    x = image(1, 3, 24, 24)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, (1, 3, 12, 12))
    found = run_tiled(answers("blurred"), package("blurred"), x, 12, out={"blurred": out})
    assert found["blurred"] is out
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), blurred(x))
    asked = []

    def allocate(name: str, shape: Any, dtype: Any) -> Any:
        asked.append((name, shape, np.dtype(dtype)))
        return np.empty(shape, dtype)

    run_tiled(answers("blurred"), package("blurred"), x, 12, allocate=allocate)
    assert asked == [("blurred", (1, 3, 12, 12), np.dtype(np.float64))]


def test_only_slices_of_the_image_are_read() -> None:
    class Mapped:
        shape = (1, 3, 64, 64)
        largest = 0

        def __getitem__(self, place: Any) -> Image:
            part = image(*self.shape)[place]
            Mapped.largest = max(Mapped.largest, part.size)
            return part

    found = run_tiled(answers("blurred"), package("blurred"), Mapped(), 16)
    np.testing.assert_allclose(found["blurred"], blurred(image(*Mapped.shape)))
    assert Mapped.largest == 3 * 16 * 16


def test_a_tile_that_is_too_small_names_one_that_works() -> None:
    with pytest.raises(UsageError, match="tile 4: too small for these windows; the smallest that works") as bad:
        run_tiled(answers("blurred"), package("blurred"), image(1, 3, 40, 40), 4)
    smallest = int(str(bad.value).rpartition(" ")[2])
    found = run_tiled(answers("blurred"), package("blurred"), image(1, 3, 40, 40), smallest)
    np.testing.assert_allclose(found["blurred"], blurred(image(1, 3, 40, 40)))


@pytest.mark.parametrize(
    ("tile", "said"), [((8,), "expected 2 sizes"), ((8, 0), "expected 2 sizes"), (0, "expected 2")]
)
def test_tiles_that_are_no_sizes(tile: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run_tiled(answers("blurred"), package("blurred"), image(1, 3, 40, 40), tile)


@pytest.mark.parametrize(
    ("tile", "size", "said"),
    [
        (
            18,
            64,
            r"tile 18: input x takes 16..64 in steps of 16; the nearest sizes that fit are 16 and 32 along axis 2",
        ),
        (48, 101, r"tile 48: the last tile of 101 pixels would be \d+; crop or pad the image, or take another"),
        (80, 80, r"tile 80: input x takes 16..64 in steps of 16 along axis 2"),
    ],
)
def test_tiles_must_fit_the_steps_of_a_range(tile: int, size: int, said: str) -> None:
    given = package("blurred")
    bounds = ShapeRange((1, 3, 16, 16), (1, 3, 32, 32), (4, 3, 64, 64), (1, 1, 16, 16))
    given.manifest.inputs = (TensorEntry("x", "float64", ("n", 3, "h", "w"), bounds),)
    with pytest.raises(UsageError, match=said):
        run_tiled(answers("blurred"), given, image(1, 3, size, 64), tile)
    x = image(1, 3, 80, 96)
    np.testing.assert_allclose(run_tiled(answers("blurred"), given, x, 48)["blurred"], blurred(x))


def test_tiles_must_have_a_fixed_size() -> None:
    given = package("blurred")
    given.manifest.inputs = (TensorEntry("x", "float64", (1, 3, 32, 32)),)
    with pytest.raises(UsageError, match="tile 24: input x takes 32 along axis 2"):
        run_tiled(answers("blurred"), given, image(1, 3, 64, 64), 24)
    x = image(1, 3, 64, 48)
    np.testing.assert_allclose(run_tiled(answers("blurred"), given, x, 32)["blurred"], blurred(x))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (None, "has no windows for tiling; export the model again"),
        ({}, "blurred cannot be computed tile by tile: nothing is recorded"),
        (
            {"blurred": {"refused": "GlobalAveragePool pool: no"}},
            "tile by tile: GlobalAveragePool pool: no; run the who",
        ),
        ({"blurred": {"axes": []}}, r"tiling\.blurred: not windows"),
        ({"blurred": {"axes": [window(2, -1, 1, align=1)]}}, r"tiling\.blurred: not windows"),
        ({"blurred": {"axes": [{**window(1, 0, 0), "stride": "1/0"}]}}, r"tiling\.blurred: not windows"),
    ],
)
def test_packages_without_windows_are_refused(entries: Any, said: str) -> None:
    given = package("blurred")
    given.manifest.data = {} if entries is None else {FIELD: entries}
    with pytest.raises(BadInput, match=said):
        run_tiled(answers("blurred"), given, image(1, 3, 40, 40), 12)
