"""Adaptive pooling where the image's size varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport import load
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, ShapeOptions
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.errors import ParityError
from tests.export.nets import image, seeded, source


class Pooled(nn.Module):
    """Pools to a fourth of the size, and back."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return F.interpolate(F.adaptive_max_pool2d(x, (height // 4, width // 4)), size=(height, width)) + x


def export(path: Any, **shapes: list[str]) -> Any:
    net = source(seeded(Pooled()), image(1, 2, 16, 24))
    return run_export(net, ShapeOptions(**shapes), path, ExportOptions(), Log())


def test_sizes_in_steps(tmp_path: Any) -> None:
    export(tmp_path / "p", min=["x:1x2x8x8"], max=["x:1x2x40x40"], multiple=["x:1x1x4x4"])
    asked = image(1, 2, 20, 36)
    with load(tmp_path / "p") as session:
        (answer,) = session.run({"x": asked.numpy()}).values()
    np.testing.assert_allclose(answer, Pooled()(asked), atol=1e-6)


def test_free_sizes_are_refused_with_the_step_that_works(tmp_path: Any) -> None:
    with pytest.raises(ParityError, match=r"The sizes in steps share it: --multiple-of x:1x1x4x4"):
        export(tmp_path / "p", min=["x:1x2x8x8"], max=["x:1x2x40x40"])
    assert not (tmp_path / "p").exists()


def test_sizes_that_the_trace_takes_for_equal(tmp_path: Any) -> None:
    """At 64 one row and one column remain, at 95 two; ONNX Runtime must not be told that they are equal."""
    steps = (nn.Conv2d(1, 2, 11, stride=4, padding=2), *(nn.MaxPool2d(3, 2) for _ in range(3)))
    net = seeded(nn.Sequential(*steps, nn.AdaptiveAvgPool2d(6)))
    shapes = ShapeOptions(min=["input:1x1x64x64"], max=["input:2x1x95x95"])
    run_export(source(net, image(2, 1, 64, 64)), shapes, tmp_path / "p", ExportOptions(), Log())
    asked = image(1, 1, 64, 95)
    with load(tmp_path / "p", backend="onnxruntime") as session:
        np.testing.assert_allclose(session(asked.numpy()), net(asked).detach(), atol=1e-5)


def test_one_pixel_at_the_smallest_size_and_two_at_the_largest(tmp_path: Any) -> None:
    net = seeded(nn.Sequential(*(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(6)), nn.AdaptiveAvgPool2d(1)))
    shapes = ShapeOptions(min=["input:1x1x64x64"], max=["input:1x1x96x96"])
    run_export(source(net, image(1, 1, 64, 64)), shapes, tmp_path / "p", ExportOptions(), Log())
    with load(tmp_path / "p", backend="onnxruntime") as session:
        for height, width in ((64, 64), (64, 65), (96, 80)):
            asked = image(1, 1, height, width)
            np.testing.assert_allclose(session(asked.numpy()), net(asked).detach(), rtol=1e-6, atol=1e-5)
