"""Resizing with antialias, or without what lies outside, is written as two matrix products."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch.nn.functional import interpolate

from rectexport.exporter.passes.engines import resize_matrix
from tests.export.helper import build, normal, operators, relative_l2
from tests.export.passes.engines.helper import engines, exact, needed, refused

SIZES = [(3, 4), (1, 1), (13, 11), (11, 3), (8, 2)]


def resize(size: tuple[int, int], attributes: str, dims: str = "1,2,8,7", last: str = "") -> ModelProto:
    body = f"y = Resize<{attributes}>(x, , , sizes{last})"
    shape = f"1,2,{size[0]},{size[1]}" if dims[0] == "1" else "a,b,c,d"
    stored = {"sizes": np.array([1, 2, *size], np.int64)}
    return build(f"(float[{dims}] x) => (float[{shape}] y)", body, 20, **stored)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("coordinates", sorted(resize_matrix.COORDINATES))
@pytest.mark.parametrize("size", SIZES)
def test_antialias(size: tuple[int, int], coordinates: str, outside: int, mode: str) -> None:
    said = f'antialias=1, mode="{mode}", exclude_outside={outside}, coordinate_transformation_mode="{coordinates}"'
    rewritten = exact(resize_matrix.run, resize(size, said), {"x": normal(1, 2, 8, 7)})
    assert operators(rewritten) == ["MatMul", "MatMul"]


@pytest.mark.parametrize(
    "said",
    [
        'antialias=1, mode="linear", exclude_outside=1',
        'antialias=1, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5',
        'mode="cubic", exclude_outside=1',
        'mode="linear", coordinate_transformation_mode="half_pixel_symmetric"',
    ],
)
def test_openvino_needs_it(said: str) -> None:
    needed(resize_matrix.run, resize((3, 4), said), {"x": normal(1, 2, 8, 7)})


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_pytorch_is_met(mode: str) -> None:
    factor = 'cubic_coeff_a=-0.5, mode="cubic"' if mode == "bicubic" else 'mode="linear"'
    for size, seed in itertools.product(SIZES, range(2)):
        x = normal(1, 2, 8, 7, seed=seed)
        model = resize(size, f"antialias=1, exclude_outside=1, {factor}")
        (got,) = engines.onnxruntime_plain(exact(resize_matrix.run, model, {"x": x}), {"x": x})
        wanted = interpolate(torch.from_numpy(x).double(), size=size, mode=mode, antialias=True).numpy()
        assert relative_l2(wanted, got) <= 1e-6


def test_scales_are_followed() -> None:
    body = 'y = Resize<antialias=1, mode="linear">(x, , scales)'
    scales = np.array([1, 1, 0.45, 1.3], np.float32)
    exact(
        resize_matrix.run,
        build("(float[1,2,8,7] x) => (float[1,2,3,9] y)", body, 20, scales=scales),
        {"x": normal(1, 2, 8, 7)},
    )


def test_axes_are_followed() -> None:
    body = 'y = Resize<antialias=1, mode="linear", axes=[3,2]>(x, , , sizes)'
    sizes = np.array([4, 3], np.int64)
    model = build("(float[N,2,8,7] x) => (float[N,2,3,4] y)", body, 20, sizes=sizes)
    exact(resize_matrix.run, model, {"x": normal(2, 2, 8, 7)})


def test_an_open_batch_as_torch_writes_it() -> None:
    body = 's = Shape<start=0, end=2>(x)\n z = Concat<axis=0>(s, hw)\n y = Resize<antialias=1, mode="linear">(x, , , z)'
    model = build("(float[N,2,8,7] x) => (float[N,2,3,4] y)", body, 20, hw=np.array([3, 4], np.int64))
    needed(resize_matrix.run, model, {"x": normal(2, 2, 8, 7)})
    body = body.replace("Shape<start=0, end=2>(x)", "Shape<start=1, end=3>(x)")
    model = build("(float[N,2,8,7] x) => (float[a,b,c,d] y)", body, 20, hw=np.array([3, 4], np.int64))
    assert "not constant" in refused(resize_matrix.run, model).refused[0].reason


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (resize((3, 4), 'antialias=1, mode="linear"', "N,2,H,W"), "not fixed"),
        (
            resize((3, 4), 'antialias=1, mode="linear", coordinate_transformation_mode="tf_half_pixel_for_nn"'),
            "coordinate",
        ),
        (resize((3, 4), 'antialias=1, mode="linear"', "N,2,8,7"), "batch or channels"),
    ],
)
def test_near_misses_are_refused(model: ModelProto, reason: str) -> None:
    assert reason in refused(resize_matrix.run, model).refused[0].reason


@pytest.mark.parametrize(
    "said", ['mode="linear"', 'mode="cubic"', 'mode="nearest"', 'mode="linear", exclude_outside=1']
)
def test_what_openvino_computes_right_stays(said: str) -> None:
    assert not refused(resize_matrix.run, resize((3, 4), said)).refused
