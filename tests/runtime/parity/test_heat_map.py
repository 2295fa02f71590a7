"""The heat map is drawn for any pair of tensors and written atomically."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.parity.heat_map import draw_heat_map, heat_map


def pair(*shape: int) -> tuple[Any, Any]:
    expected = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return expected, expected.copy()


def draw(path: Path, expected: Any, actual: Any) -> Any:
    """The pixels, [H, W, 3]."""
    pytest.importorskip("matplotlib")
    images = pytest.importorskip("PIL.Image")
    draw_heat_map(path, "layer, tensor t", expected, actual)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with images.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"), np.int64)


def blue(pixels: Any) -> Any:
    """The ring's centre in each third of the picture, as fractions of that third: the mean place of its colour."""
    mask = np.abs(pixels - [0, 160, 255]).sum(-1) < 10
    width = pixels.shape[1] // 3
    return [np.argwhere(mask[:, i * width : (i + 1) * width]).mean(0) / (len(pixels), width) for i in range(3)]


def test_the_ring_marks_the_worst_pixel(tmp_path: Path) -> None:
    expected, actual = pair(2, 3, 9, 9)
    actual[1, 2, 0, 0] += 3
    left = blue(draw(tmp_path / "left.png", expected, actual))
    (tmp_path / "left.png").unlink()
    expected, actual = pair(2, 3, 9, 9)
    actual[1, 2, 8, 8] += 3
    right = blue(draw(tmp_path / "right.png", expected, actual))
    for top, bottom in zip(left, right, strict=True):
        assert (bottom - top > 0.4).all()


@pytest.mark.parametrize(
    ("shape", "error"), [((), 0.5), ((3, 10), np.nan), ((1, 1, 1, 1), 0.0), ((1, 2, 1, 40), np.inf)]
)
def test_any_tensor_is_drawn(tmp_path: Path, shape: tuple[int, ...], error: float) -> None:
    expected, actual = (np.array(side) for side in pair(*shape))
    actual.reshape(-1)[-1] += np.float32(error)
    draw(tmp_path / "map.png", expected, actual)


def test_axes_and_colour_bars_are_named_and_do_not_cover_each_other() -> None:
    pytest.importorskip("matplotlib")
    figure = heat_map("t", *pair(1, 2, 8, 8))
    panels, bars = figure.axes[:3], figure.axes[3:]
    assert {axes.get_xlabel() for axes in panels} == {"column, pixels"} and panels[0].get_ylabel() == "row, pixels"
    assert [bar.get_ylabel() for bar in bars] == ["value", "value", "error"]
    figure.draw_without_rendering()
    planes, named = [axes.get_window_extent() for axes in panels], [bar.get_tightbbox() for bar in bars]
    assert not [(plane, bar) for plane in planes for bar in named if plane.overlaps(bar)]


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rectexport\[parity\]'"):
        draw_heat_map(tmp_path / "map.png", "t", *pair(1, 1, 2, 2))
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(BadInput, match="is a folder"):
        draw_heat_map(tmp_path, "t", *pair(1, 1, 2, 2))
