"""--rectify-model: a plain network is exported rectified, with its own weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.pipeline import run_export
from rectexport.models import create_model
from rectexport.models.checkpoint import save_checkpoint
from rectexport.runtime.api import load
from rectexport.runtime.errors import BadInput, UsageError

RECTIFY = LoadOptions(rectify_model=True)


def test_answers_are_those_of_the_rectified_twin(tmp_path: Path) -> None:
    plain = create_model("resnet20", 10, width=0.25, blocks=1, conv="plain").eval()
    twin = create_model("resnet20", 10, width=0.25, blocks=1, conv="rectified").eval()
    twin.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 12, 12)
    file = tmp_path / "plain.pt"
    save_checkpoint(file, "resnet20", {"num_classes": 10, "width": 0.25, "blocks": 1}, plain, images)
    source = load_source(file, RECTIFY)
    assert "convolutions rectified" in source.description
    package = run_export(source, ShapeOptions(), tmp_path / "out", ExportOptions(), Log()).package
    with load(package.path) as session, torch.no_grad():
        answer = session(images.numpy())
        np.testing.assert_allclose(answer, twin(images).numpy(), rtol=1e-4, atol=1e-5)
        assert not np.allclose(answer, plain(images).numpy(), rtol=1e-2, atol=1e-2)


def test_modules_that_cannot_be_rectified_are_reported(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    torch.export.save(torch.export.export(net, (torch.randn(1, 1, 5, 5),)), tmp_path / "net.pt2")
    with pytest.raises(UsageError, match=r"net\.pt2 is torch.export program"):
        load_source(tmp_path / "net.pt2", RECTIFY)
    torch.save(net, tmp_path / "net.pt")
    with pytest.raises(BadInput, match="no zero-padded convolution"):
        load_source(tmp_path / "net.pt", LoadOptions(trust_pickle=True, rectify_model=True))


@pytest.mark.parametrize("name", ["m5", "r3d_18"])
def test_sound_and_video_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    """Weights of a plain network, with the same keys: rectified as the zoo does it, or with --rectify-model."""
    options = {"num_classes": 5, "width": 0.0625, **({"blocks": (1, 1, 1, 1)} if name == "r3d_18" else {})}
    plain = create_model(name, conv="plain", **options).eval()
    twin = create_model(name, conv="rectified", **options).eval()
    twin.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 2048) if name == "m5" else torch.randn(1, 3, 5, 20, 18)
    file = tmp_path / "plain.pt"
    save_checkpoint(file, name, {**options, "conv": "plain"}, plain, x)
    package = run_export(load_source(file, RECTIFY), ShapeOptions(), tmp_path / "out", ExportOptions(), Log()).package
    with load(package.path) as session, torch.no_grad():
        answer = session(x.numpy())
        np.testing.assert_allclose(answer, twin(x).numpy(), rtol=1e-4, atol=1e-5)
        assert not np.allclose(answer, plain(x).numpy(), rtol=1e-3, atol=1e-3)
