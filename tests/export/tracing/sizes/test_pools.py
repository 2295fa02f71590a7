"""Adaptive max pooling to a part of the image's size."""

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
