"""The inpainting U-Net on both engines, at odd sizes, with masks of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import rectexport
from rectexport.models.tools.seeded import seeded_model
from tests.export.engines import ENGINES

KINDS = {"half": 0.5, "thin": 0.02, "everything": 1.0, "nothing": 0.0}


def image(height: int, width: int, known: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    x = torch.randn(2, 4, height, width, generator=generator)
    x[:, 3] = (torch.rand(2, height, width, generator=generator) < known).float()
    if 0 < known < 1:
        x[0, 3, height // 2 :] = 0  # windows without a known pixel in all of a layer's sizes
    return x


@pytest.mark.parametrize("target", ["portable", "tensorrt"])
def test_odd_sizes_and_random_masks(target: str, tmp_path: Path) -> None:
    net = seeded_model("inpainting_unet", width=1 / 16, depth=3)
    sides = {2: torch.export.Dim("h", min=16, max=48), 3: torch.export.Dim("w", min=16, max=48)}
    shapes = (sides,) if target == "portable" else None
    package = rectexport.export(net, (image(37, 45, 0.5),), tmp_path / "net", shapes, target=target)
    fired = {entry["name"]: len(entry["fired"]) for entry in package.manifest.data["passes"]}
    assert fired["masked_narrow"] == 6 and fired["batch_norm"] == 4 and fired["masked_counts"] == 12
    for engine in ENGINES:
        with rectexport.load(package.path, backend=engine) as session, torch.no_grad():
            for size in ((37, 45), (46, 33)) if shapes else ((37, 45),):
                for kind, known in KINDS.items():
                    x = image(*size, known)
                    expected, answer = net(x).numpy(), session(x.numpy())
                    assert np.isfinite(answer).all()
                    error = np.linalg.norm(answer - expected)
                    assert error <= 1e-5 * np.linalg.norm(expected), (engine, size, kind, error)
                    if kind == "nothing":
                        assert not answer.any()
