"""Every network of the zoo: parameters, multiply-accumulates, rectified layers, shapes."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache

import pytest
import torch
from torch import nn

from rectexport.models import AVR, CReLU, MaskedConv2d, ScaledCReLU, SymmetricConv2d, create_model, model_names
from rectexport.models.layers.rectified import RECTIFIED
from rectexport.models.networks.blocks import PreActivation
from rectexport.models.registry import model_entry
from rectexport.models.tools.count import macs, parameters, rectified_layers
from rectexport.models.tools.seeded import seeded_model

USES = {"rectified", "masked", "crelu", "avr", "c2sp", "c4sp", "proportional"}
every_model = pytest.mark.parametrize("name", model_names())


@cache
def meta(name: str, **options: Hashable) -> nn.Module:
    """The network without memory for its weights; not to be changed."""
    with torch.device("meta"):
        return create_model(name, **options)


def reduced(name: str) -> dict[str, float]:
    """An option that makes the network small enough to run in a moment."""
    return {"width": 1 / 16 if name.startswith(("vgg16", "vgg19")) else 0.25}


def small_shape(name: str) -> tuple[int, ...]:
    """At most as many pixels as 96 x 96 has."""
    channels, *size = model_entry(name).input_shape
    return channels, *(min(side, round(96 ** (2 / len(size)))) for side in size)


# Millions of parameters. Where a paper's own figure contradicts its layer table, the table is followed.
PARAMETERS = {
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnext50_32x4d": 25.03,
    "resnest50_fast_2s8x": 26.38,
    "regnet_x_4gf": 22.12,
    "c2sp_resnet50_0_5x": 5.35,
    "c3_resnet50_0_5x": 6.92,
    "c2sp_resnet50_1_0x": 19.26,
    "c2sp_resnet50_optim": 5.82,
    "plain38": 0.56,
    "plain62": 0.95,
    "plain84": 1.33,
    "dfn_mr1": 1.71,
    "all_cnn_b_relu": 9.37,
    "all_cnn_b_avr1_to_4": 9.37,
    "all_cnn_b_avr1_to_7": 9.37,
    "all_cnn_b_crelu1_to_4": 10.14,
    "all_cnn_b_crelu_all_half": 4.68,
    "all_cnn_b_crelu1_4_7_half": 8.60,
    # Published as 11.62: that counts conv8 with 384 inputs, where the same table says 1x1x768x384.
    "all_cnn_b_crelu1_to_7": 11.62 + 384 * 384 / 1e6,
    # Published as 1.4, 5.6, 2.8 and 0.7: multiples of the 1.37 of Springenberg's ConvPool-CNN-C, which has one more
    # 96-filter convolution before the first pool than the table here; in "half" the table's conv3 is 96 -> 48 too.
    "convpool_cnn_c_relu": 1.287,
    "convpool_cnn_c_avr": 1.287,
    "convpool_cnn_c_double": 5.135,
    "convpool_cnn_c_crelu": 2.570,
    "convpool_cnn_c_half": 0.520,
    # From the papers that introduced them.
    "resnet18": 11.69,
    "resnet34": 21.80,
    "resnet152": 60.19,
    "vgg16": 138.36,
    "vgg19": 143.67,
    "preresnet110": 1.73,
    "preresnet164_bottleneck": 1.70,
    "resnet20": 0.27,
    "m5": 0.56,  # printed as 0.5, cut off
    "r3d_18": 33.37,  # torchvision's
    "inpainting_unet": 32.86,
}


@every_model
def test_the_catalog_counts_as_the_network_does(name: str) -> None:
    entry = model_entry(name)
    assert entry.parameters == parameters(meta(name))
    assert entry.rectified_layers == rectified_layers(meta(name))


@pytest.mark.parametrize(("name", "millions"), PARAMETERS.items())
def test_parameters_are_those_of_the_papers(name: str, millions: float) -> None:
    # All-CNN-B's are published cut off rather than rounded, hence a whole hundredth.
    assert abs(parameters(meta(name)) / 1e6 - millions) < 0.01


def test_a_convolution_more_makes_convpools_published_figure() -> None:
    extra = 96 * 96 * 9 + 96
    assert round((parameters(meta("convpool_cnn_c_relu")) + extra) / 1e6, 1) == 1.4


@pytest.mark.parametrize(
    ("name", "billions"), [("resnest50_fast_2s8x", 4.51), ("regnet_x_4gf", 4.0), ("resnet50", 4.1)]
)
def test_macs(name: str, billions: float) -> None:
    assert macs(meta(name), (3, 224, 224)) / 1e9 == pytest.approx(billions, rel=0.01)


LAYERS = {
    "resnet50": 17,
    "resnet101": 34,
    "resnext50_32x4d": 17,
    "resnest50_fast_2s8x": 19,
    "regnet_x_4gf": 24,
    "vgg16": 13,
}


@pytest.mark.parametrize(("name", "layers"), LAYERS.items())
def test_rectified_layers(name: str, layers: int) -> None:
    assert rectified_layers(meta(name)) == layers
    assert rectified_layers(meta(name, conv="plain")) == 0


@every_model
def test_it_runs_at_two_sizes(name: str) -> None:
    model = seeded_model(name, num_classes=7, **reduced(name))
    channels, first, *rest = small_shape(name)
    with torch.no_grad():
        for size in ((first, *rest), (first + 5, *(side + 1 for side in rest))):
            y = model(torch.randn(2, channels, *size))
            assert y.shape == (2, 7, *(size if name == "inpainting_unet" else ())) and y.isfinite().all()


@every_model
def test_every_padded_convolution_can_be_rectified_and_keeps_its_keys(name: str) -> None:
    twin = meta(name, conv="plain")
    if "masked" in model_entry(name).uses:
        assert list(meta(name).state_dict()) == list(twin.state_dict())
        return
    model = meta(name, conv="rectified", mode="average")
    assert list(model.state_dict()) == list(twin.state_dict())
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and any(module.padding):
            assert isinstance(module, RECTIFIED) and module.mode == "average"
    assert rectified_layers(twin) == 0


@every_model
def test_declared_ideas_are_those_in_the_network(name: str) -> None:
    uses, model = set(model_entry(name).uses), meta(name)
    assert uses <= USES
    kinds = {type(module) for module in model.modules()}
    assert bool(kinds & set(RECTIFIED)) == ("rectified" in uses)
    assert bool(kinds & {CReLU, ScaledCReLU}) == ("crelu" in uses)
    assert (MaskedConv2d in kinds) == ("masked" in uses)
    assert (AVR in kinds) == ("avr" in uses)
    assert (SymmetricConv2d in kinds) == bool(uses & {"c2sp", "c4sp"})


def filters(name: str) -> list[int]:
    """Output channels of every convolution, in order."""
    return [module.out_channels for module in meta(name).modules() if isinstance(module, nn.Conv2d)]


def test_layer_tables_of_the_crelu_nets() -> None:
    assert filters("convpool_cnn_c_half") == [48, 48, 48, 96, 96, 96, 96, 10]
    inputs = [module.in_channels for module in meta("convpool_cnn_c_half").modules() if isinstance(module, nn.Conv2d)]
    assert inputs == [3, 96, 96, 96, 192, 192, 192, 192]
    assert filters("all_cnn_b_crelu_all_half") == [*[48] * 3, *[128] * 3, *[192] * 3, *[512] * 2, 1000]
    assert filters("vgg13conv_crelu1_3_5_half")[:5] == [32, 64, 64, 128, 128]


@pytest.mark.parametrize(("name", "planes"), [("convpool_cnn_c_relu", 10), ("all_cnn_b_relu", 6)])
def test_the_average_covers_the_published_plane(name: str, planes: int) -> None:
    model = create_model(name, width=0.25).eval()
    shape = model_entry(name).input_shape
    with torch.no_grad():
        assert model.features(torch.zeros(1, *shape)).shape[2:] == (planes, planes)


def relus(model: nn.Module) -> int:
    return sum(isinstance(module, nn.ReLU) for module in model.modules())


def test_numbers_of_relus() -> None:
    assert relus(meta("plain38")) == 37 and relus(meta("plain38_2to1")) == 37 - 18
    assert relus(meta("plain84_2to1")) == 1 + 82 // 2
    blocks = sum(isinstance(module, PreActivation) for module in meta("preresnet110").modules())
    assert blocks == 54 and relus(meta("preresnet110")) == 2 * 54 + 1
    assert relus(meta("preresnet110_2to1")) == 54 + 1
    for kind in (1, 2, 3):
        assert relus(meta(f"preresnet164_type{kind}")) == relus(meta("preresnet164_bottleneck")) - 54


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain38", {"ratio": "3:1"}, "ratio"),
        ("preresnet62", {"drop": (3,)}, "drop: expected numbers from 1 to 2"),
        ("resnet20", {"drop": "middle"}, "drop"),
        ("dfn_mr1", {"kind": "type3"}, "kind"),
        ("dfn_mr1", {"kind": "type1", "branch": 2}, "branch"),
        ("c2sp_resnet50_0_5x", {"kernel": "2x2"}, "kernel"),
        ("c2sp_resnet50_0_5x", {"order": "TL"}, "order"),
        ("convpool_cnn_c_relu", {"variant": "prelu"}, "variant"),
        ("resnet50", {"blocks": (1,)}, r"blocks: expected 4 positive integers, got \(1,\)"),
        ("resnet18", {"blocks": (1, 1, 1, 0)}, "blocks"),
        ("regnet_x_4gf", {"widths": (8, 8)}, "widths"),
        ("resnest50_fast_2s8x", {"blocks": (1,)}, "blocks"),
        ("vgg16", {"convs": (1, 1)}, "convs"),
        ("plain38", {"convs": (1, 1)}, "convs"),
        ("preresnet62", {"blocks": 0}, "blocks"),
        ("resnet20", {"blocks": -1}, "blocks"),
        ("dfn_mr1", {"blocks": (1,)}, "blocks"),
        ("c2sp_resnet50_0_5x", {"blocks": (1,)}, "blocks"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, **options)
