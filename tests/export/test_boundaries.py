"""A network with borders of every kind, from PyTorch to both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rectexport
from rectexport.models import BoundaryConv2d
from tests.export.engines import ENGINES


class Weather(nn.Module):
    """Borders of our layers, of torch's, and of a function, with a normalization between."""

    def __init__(self) -> None:
        super().__init__()
        self.globe = BoundaryConv2d(2, 4, 3, padding=1, padding_mode=("poles", "circular"))
        self.norm = nn.BatchNorm2d(4)
        self.mixed = BoundaryConv2d(4, 4, 3, padding=1, padding_mode=("replicate", "circular"))
        self.circular = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.last = nn.Conv2d(4, 3, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.globe(x)))
        x = F.relu(self.circular(F.relu(self.mixed(x))))
        return self.last(F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Weather().eval()


def test_one_package_for_both_engines(network: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 2, 10, 16)
    package = rectexport.export(network, (x,), tmp_path / "net")
    expected = network(x).detach().numpy()
    for engine in ENGINES:
        with rectexport.load(tmp_path / "net", backend=engine) as session:
            np.testing.assert_allclose(session(x.numpy()), expected, rtol=1e-4, atol=1e-5)
    kinds = [entry["kind"] for entry in package.manifest.data["borders"]]
    assert kinds == ["poles × circular", "replicate × circular", "circular", "zeros × circular"]


def test_half_precision(network: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(1, 2, 10, 16)
    rectexport.export(network, (x,), tmp_path / "net", fp16=True)
    with rectexport.load(tmp_path / "net", backend="onnxruntime") as session:
        np.testing.assert_allclose(session(x.numpy()), network(x).detach().numpy(), atol=1e-2)


def test_free_sizes(tmp_path: Path) -> None:
    """Rows across a pole need a fixed width; every other border is free."""
    torch.manual_seed(0)
    layers = [BoundaryConv2d(2, 3, 3, padding=1, padding_mode=("symmetric", "circular")), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")).eval()
    sizes = {2: torch.export.Dim("h", min=4, max=20), 3: torch.export.Dim("w", min=4, max=24)}
    rectexport.export(network, (torch.randn(1, 2, 10, 16),), tmp_path / "net", dynamic_shapes=(sizes,))
    for engine in ENGINES:
        with rectexport.load(tmp_path / "net", backend=engine) as session:
            x = torch.randn(1, 2, 7, 13)
            np.testing.assert_allclose(session(x.numpy()), network(x).detach().numpy(), rtol=1e-4, atol=1e-5)
