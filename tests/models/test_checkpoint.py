"""The checkpoint format, with every message a user may meet."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rectexport.models import create_model
from rectexport.models.checkpoint import build, is_checkpoint, read_checkpoint, save_checkpoint
from rectexport.runtime.errors import BadInput

ARGUMENTS = {"num_classes": 10, "width": 0.25}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return create_model("digits", **ARGUMENTS).eval()


@pytest.fixture
def checkpoint(model: nn.Module, tmp_path: Path) -> dict[str, Any]:
    save_checkpoint(tmp_path / "digits.pt", "digits", ARGUMENTS, model, torch.rand(2, 1, 8, 8))
    return read_checkpoint(tmp_path / "digits.pt")


def test_a_round_trip_keeps_every_bit(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    assert is_checkpoint(checkpoint) and checkpoint["tolerances"] == {"relative_l2": 1e-5}
    rebuilt = build(checkpoint)
    assert not rebuilt.training
    x = checkpoint["example_input"]
    assert x.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(rebuilt(x), model(x))


def test_nothing_is_left_behind_when_saving_fails(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arguments\['conv'\]: expected a plain value, got Conv2d"):
        save_checkpoint(tmp_path / "a.pt", "digits", {"conv": nn.Conv2d(1, 1, 1)}, model, torch.rand(1, 1, 8, 8))
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(BadInput, match="is a folder; expected the name of a file"):
        save_checkpoint(tmp_path / "folder.pt", "digits", {}, model, torch.rand(1, 1, 8, 8))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pt"]


def test_a_disk_that_is_full_is_the_systems_error(model: nn.Module, tmp_path: Path) -> None:
    """PyTorch, writing itself, would make a RuntimeError of it that says nothing of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path / "a.pt", "digits", {}, model, torch.rand(1, 1, 8, 8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_sequences_survive_as_arguments(model: nn.Module, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "r.pt", "resnet50", {"blocks": (1, 1, 1, 1)}, model, torch.rand(1, 3, 8, 8))
    assert read_checkpoint(tmp_path / "r.pt")["arguments"] == {"blocks": (1, 1, 1, 1)}


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pt"
    path.write_bytes(b"not a zip")
    with pytest.raises(BadInput, match=r"wrong\.pt: not a readable checkpoint"):
        read_checkpoint(path)
    torch.save(nn.Linear(1, 1), path)  # needs pickle: refused
    with pytest.raises(BadInput, match=r"wrong\.pt: not a readable checkpoint"):
        read_checkpoint(path)
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(BadInput, match=r"wrong\.pt: not a rectexport-checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this release reads 1"),
        ({"arch": None}, "field 'arch': expected str, got NoneType"),
        ({"example_input": torch.ones(1, 1, 8, 8).double()}, "example_input: expected float32"),
        ({"arch": "digit"}, "unknown model 'digit': did you mean 'digits'"),
        ({"arguments": {"wide": 2}}, "digits has no option 'wide'"),
        ({"arguments": {"width": "x"}}, "f.pt: digits cannot be built with these arguments: "),
    ],
)
def test_bad_fields_are_named(checkpoint: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build({**checkpoint, **change}, "f.pt")


def test_a_missing_field_is_named(checkpoint: dict[str, Any]) -> None:
    del checkpoint["tolerances"]
    with pytest.raises(BadInput, match="checkpoint: field 'tolerances': expected dict, got nothing"):
        build(checkpoint)


def test_keys_of_published_networks() -> None:
    """Samples of torchvision's VGG and of the resnest package's ResNeSt, with the network's size."""
    with torch.device("meta"):
        vgg, resnest = create_model("vgg16_bn").state_dict(), create_model("resnest50_fast_2s8x").state_dict()
    assert vgg["features.0.weight"].shape == (64, 3, 3, 3) and vgg["features.41.bias"].shape == (512,)
    assert vgg["classifier.6.weight"].shape == (1000, 4096)
    sample = {
        "conv1.0.weight": (32, 3, 3, 3),
        "conv1.4.running_mean": (32,),
        "conv1.6.weight": (64, 32, 3, 3),
        "bn1.weight": (64,),
        "layer1.0.conv1.weight": (112, 64, 1, 1),
        "layer1.0.conv2.conv.weight": (224, 7, 3, 3),
        "layer1.0.conv2.bn0.weight": (224,),
        "layer1.0.conv2.fc1.weight": (56, 14, 1, 1),
        "layer1.0.conv2.fc1.bias": (56,),
        "layer1.0.conv2.bn1.running_var": (56,),
        "layer1.0.conv2.fc2.weight": (224, 7, 1, 1),
        "layer1.0.downsample.1.weight": (256, 64, 1, 1),
        "layer1.0.downsample.2.bias": (256,),
        "layer4.2.conv3.weight": (2048, 896, 1, 1),
        "fc.weight": (1000, 2048),
    }
    assert {key: tuple(resnest[key].shape) for key in sample} == sample
    assert "layer1.0.bn2.weight" not in resnest and len(resnest) == 18 + 16 * 27 + 4 * 6 + 2


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(BadInput, match=r"pipe\.pt: is a pipe, expected a regular file"):
        read_checkpoint(tmp_path / "pipe.pt")
