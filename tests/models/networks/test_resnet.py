"""Rectified ResNets: counts, state-dict keys, sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rectexport.models import RectifiedConv2d, create_model

MILLION = 1e6


def meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "millions", "rectified"),
    [("resnet50", 25.56, 17), ("resnet101", 44.55, 34), ("resnext50_32x4d", 25.03, 17)],
)
def test_parameters_and_rectified_layers(name: str, millions: float, rectified: int) -> None:
    model = meta(name)
    assert round(sum(p.numel() for p in model.parameters()) / MILLION, 2) == millions
    assert sum(isinstance(module, RectifiedConv2d) for module in model.modules()) == rectified
    assert not any(isinstance(module, RectifiedConv2d) for module in meta(name, conv="plain").modules())


def test_which_convolutions_are_rectified() -> None:
    for name, module in meta("resnet50", mode="average").named_modules():
        if isinstance(module, nn.Conv2d):
            assert isinstance(module, RectifiedConv2d) == (module.kernel_size != (1, 1)), name
            assert getattr(module, "mode", "average") == "average"


def test_keys_are_torchvisions() -> None:
    shapes = {key: tuple(value.shape) for key, value in meta("resnext50_32x4d").state_dict().items()}
    assert len(shapes) == 320
    sample = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.num_batches_tracked": (),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.running_var": (256,),
        "layer2.0.conv2.weight": (256, 8, 3, 3),
        "layer3.5.bn3.bias": (1024,),
        "layer4.2.conv2.weight": (1024, 32, 3, 3),
        "fc.weight": (1000, 2048),
        "fc.bias": (1000,),
    }
    assert {key: shapes[key] for key in sample} == sample
    assert "layer1.1.downsample.0.weight" not in shapes
    assert list(meta("resnet50", conv="plain").state_dict()) == list(meta("resnet50").state_dict())


def test_the_stride_is_on_the_3x3() -> None:
    for module in meta("resnet50").modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size == (1, 1):
            assert module.out_channels > module.in_channels  # only the shortcut's


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 5)])
def test_any_input_size(name: str, size: tuple[int, int]) -> None:
    model = create_model(name, num_classes=7, width=0.25, blocks=(1, 1, 1, 1)).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, *size)).shape == (2, 7)


@pytest.mark.slow
def test_full_size_forward() -> None:
    with torch.no_grad():
        assert create_model("resnet50").eval()(torch.randn(1, 3, 97, 101)).isfinite().all()


def test_rectification_changes_the_answer() -> None:
    options = {"width": 0.25, "blocks": (1, 1, 1, 1)}
    rectified, plain = (
        create_model("resnet50", **options).eval(),
        create_model("resnet50", conv="plain", **options),
    )
    plain.load_state_dict(rectified.state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(rectified(x), plain.eval()(x), rtol=1e-2)
