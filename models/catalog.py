"""The table of the zoo: one row per network. It imports neither PyTorch nor the modules of the networks.

parameters and rectified_layers are those of the network with its default options. A test builds every network and
compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Options = dict[str, Any]


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo.

    builder           the function that builds it, as MODULE.FUNCTION in rectexport.models.networks
    input_shape       its native (C, H, W), (C, L) of sound or (C, D, H, W) of video
    paper             its source
    uses              the ideas that it uses: rectified, masked, c2sp, c4sp, crelu, avr, proportional
    parameters        number of learnable values, shared ones counted once
    rectified_layers  number of rectified convolutions
    num_classes       channels of the last layer, unless create_model gets another
    defaults          options of the builder that make it this network rather than another of its family
    """

    name: str
    builder: str
    input_shape: tuple[int, ...]
    paper: str
    uses: tuple[str, ...]
    parameters: int
    rectified_layers: int
    num_classes: int = 1000
    defaults: Options = field(default_factory=dict)

    @property
    def build(self) -> Callable[..., nn.Module]:
        """The builder. It takes num_classes and keyword options. The first use imports PyTorch."""
        module, function = self.builder.split(".")
        builder: Callable[..., nn.Module] = getattr(import_module(f"rectexport.models.networks.{module}"), function)
        return builder

    def options(self) -> tuple[str, ...]:
        """Names of the options that create_model takes for this network, besides num_classes. Imports PyTorch."""
        return tuple(name for name in inspect.signature(self.build).parameters if name != "num_classes")


#: Name, parameters, rectified layers, ideas used, default options.
Row = tuple[str, int, int, tuple[str, ...], Options]
#: Native input shape and number of classes.
IMAGENET, CIFAR = ((3, 224, 224), 1000), ((3, 32, 32), 10)


def _family(builder: str, dataset: tuple[tuple[int, ...], int], paper: str, *rows: Row) -> tuple[ModelEntry, ...]:
    """The entries of networks that one function builds."""
    shape, classes = dataset
    return tuple(
        ModelEntry(name, builder, shape, paper, uses, parameters, rectified, classes, defaults)
        for name, parameters, rectified, uses, defaults in rows
    )


RFCONV = "Rectified Convolution (Zhang)"
RESNET = "Deep Residual Learning (He et al.)"
PARTIAL = "Partial Convolution based Padding (Liu et al.)"
RESNEXT = "Aggregated Residual Transformations (Xie et al.)"
REGNET = "Designing Network Design Spaces (Radosavovic et al.)"
RESNEST = "ResNeSt: Split-Attention Networks (Zhang et al.)"
VGG = "Very Deep Convolutional Networks (Simonyan, Zisserman)"
CONCATENATED = "Concatenated Rectified Linear Units (Shang et al.)"
PVANET = "PVANET (Kim et al.)"
EVEN = "Even-sized Kernels and Symmetric Padding (Wu et al.)"
RETHINKING = "Rethinking ReLU to Train Better CNNs (Zhao et al.)"
WAVEFORM = "Very Deep Convolutional Neural Networks for Raw Waveforms (Dai et al.)"
VIDEO = "A Closer Look at Spatiotemporal Convolutions for Action Recognition (Tran et al.)"
INPAINTING = "Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al.)"
FUSION = "On the Connection of Deep Fusion to Ensembling (Zhao et al.)"

RECTIFIED, CRELU, AVR, C2SP, C4SP, PROPORTIONAL = (
    ("rectified",),
    ("crelu",),
    ("avr",),
    ("c2sp",),
    ("c4sp",),
    ("proportional",),
)


def _layers(last: int) -> tuple[int, ...]:
    """Convolutions 1 to `last`."""
    return tuple(range(1, last + 1))


#: Options of the three sizes of the even-kernel networks.
EVEN_0_5X: Options = {"widths": (128, 256, 512, 1024)}
EVEN_1_0X: Options = {"widths": (256, 512, 1024, 2048)}
EVEN_OPTIM: Options = {
    "stem": (3, 48),
    "maxpool": False,
    "blocks": (1, 2, 4, 8, 4),
    "widths": (48, 96, 192, 384, 768),
    "last": 1536,
}

#: In the order in which `rectexport models` lists them.
ENTRIES: tuple[ModelEntry, ...] = (
    *_family(
        "resnet.resnet",
        IMAGENET,
        f"{RFCONV}; {RESNET}",
        ("resnet50", 25_557_032, 17, RECTIFIED, {"blocks": (3, 4, 6, 3)}),
        ("resnet101", 44_549_160, 34, RECTIFIED, {"blocks": (3, 4, 23, 3)}),
    ),
    *_family(
        "resnet.resnet",
        IMAGENET,
        f"{PARTIAL}; {RESNET}",
        ("resnet152", 60_192_808, 51, RECTIFIED, {"blocks": (3, 8, 36, 3)}),
    ),
    *_family(
        "resnet.resnet",
        IMAGENET,
        f"{RFCONV}; {RESNEXT}",
        (
            "resnext50_32x4d",
            25_028_904,
            17,
            RECTIFIED,
            {"blocks": (3, 4, 6, 3), "groups": 32, "width_per_group": 4},
        ),
    ),
    *_family(
        "resnet.basic_resnet",
        IMAGENET,
        f"{PARTIAL}; {RESNET}",
        ("resnet18", 11_689_512, 17, RECTIFIED, {"blocks": (2, 2, 2, 2)}),
        ("resnet34", 21_797_672, 33, RECTIFIED, {"blocks": (3, 4, 6, 3)}),
    ),
    *_family("resnet.regnet", IMAGENET, f"{RFCONV}; {REGNET}", ("regnet_x_4gf", 22_118_248, 24, RECTIFIED, {})),
    *_family(
        "resnest.resnest", IMAGENET, f"{RFCONV}; {RESNEST}", ("resnest50_fast_2s8x", 26_380_656, 19, RECTIFIED, {})
    ),
    *_family(
        "vgg.vgg",
        IMAGENET,
        f"{PARTIAL}; {VGG}",
        ("vgg16", 138_357_544, 13, RECTIFIED, {"convs": (2, 2, 3, 3, 3)}),
        ("vgg16_bn", 138_365_992, 13, RECTIFIED, {"convs": (2, 2, 3, 3, 3), "batch_norm": True}),
        ("vgg19", 143_667_240, 16, RECTIFIED, {"convs": (2, 2, 4, 4, 4)}),
        ("vgg19_bn", 143_678_248, 16, RECTIFIED, {"convs": (2, 2, 4, 4, 4), "batch_norm": True}),
    ),
    *_family(
        "crelu_nets.convpool_cnn_c",
        CIFAR,
        CONCATENATED,
        ("convpool_cnn_c_relu", 1_286_698, 0, (), {"variant": "relu"}),
        ("convpool_cnn_c_double", 5_135_434, 0, (), {"variant": "double"}),
        ("convpool_cnn_c_avr", 1_286_698, 0, AVR, {"variant": "avr"}),
        ("convpool_cnn_c_crelu", 2_569_642, 0, CRELU, {"variant": "crelu"}),
        ("convpool_cnn_c_half", 519_850, 0, CRELU, {"variant": "half"}),
    ),
    *_family(
        "crelu_nets.vgg13conv",
        CIFAR,
        CONCATENATED,
        ("vgg13conv_relu", 14_987_722, 0, (), {}),
        ("vgg13conv_crelu1", 15_024_586, 0, CRELU, {"crelu": (1,)}),
        ("vgg13conv_crelu1_3", 15_172_042, 0, CRELU, {"crelu": (1, 3)}),
        ("vgg13conv_crelu1_3_5", 15_761_866, 0, CRELU, {"crelu": (1, 3, 5)}),
        ("vgg13conv_crelu1_3_5_half", 14_802_090, 0, CRELU, {"crelu": (1, 3, 5), "half": True}),
    ),
    *_family(
        "crelu_nets.all_cnn_b",
        IMAGENET,
        CONCATENATED,
        ("all_cnn_b_relu", 9_372_840, 0, (), {}),
        ("all_cnn_b_avr1_to_4", 9_372_840, 0, AVR, {"avr": _layers(4)}),
        ("all_cnn_b_avr1_to_7", 9_372_840, 0, AVR, {"avr": _layers(7)}),
        ("all_cnn_b_crelu1_to_4", 10_144_936, 0, CRELU, {"crelu": _layers(4)}),
        ("all_cnn_b_crelu1_to_7", 11_766_952, 0, CRELU, {"crelu": _layers(7)}),
        ("all_cnn_b_crelu_all_half", 4_686_920, 0, CRELU, {"crelu": _layers(10), "half": _layers(11)}),
        ("all_cnn_b_crelu1_4_7_half", 8_605_480, 0, CRELU, {"crelu": (1, 4, 7), "half": (1, 4, 7)}),
    ),
    *_family("pvanet.pvanet_crelu", IMAGENET, PVANET, ("pvanet_crelu", 328_840, 0, CRELU, {})),
    *_family(
        "even_nets.even_resnet",
        IMAGENET,
        EVEN,
        ("c2sp_resnet50_0_5x", 5_351_848, 0, C2SP, {"kernel": "c2sp", **EVEN_0_5X}),
        ("c2sp_resnet50_1_0x", 19_261_992, 0, C2SP, {"kernel": "c2sp", **EVEN_1_0X}),
        ("c2sp_resnet50_optim", 5_816_680, 0, C2SP, {"kernel": "c2sp", **EVEN_OPTIM}),
        ("c3_resnet50_0_5x", 6_923_688, 0, (), {"kernel": "3x3", **EVEN_0_5X}),
        ("c3_resnet50_1_0x", 25_549_352, 0, (), {"kernel": "3x3", **EVEN_1_0X}),
        ("c3_resnet50_optim", 6_975_160, 0, (), {"kernel": "3x3", **EVEN_OPTIM}),
        ("c4sp_resnet50_0_5x", 9_124_264, 0, C4SP, {"kernel": "c4sp", **EVEN_0_5X}),
        ("c5_resnet50_0_5x", 11_953_576, 0, (), {"kernel": "5x5", **EVEN_0_5X}),
    ),
    *_family(
        "proportional.plain",
        CIFAR,
        RETHINKING,
        ("plain38", 561_370, 0, (), {"convs": (12, 12, 12)}),
        ("plain38_2to1", 561_370, 0, PROPORTIONAL, {"convs": (12, 12, 12), "ratio": "2:1"}),
        ("plain62", 950_234, 0, (), {"convs": (20, 20, 20)}),
        ("plain62_2to1", 950_234, 0, PROPORTIONAL, {"convs": (20, 20, 20), "ratio": "2:1"}),
        ("plain84", 1_327_482, 0, (), {"convs": (27, 27, 28)}),
        ("plain84_2to1", 1_327_482, 0, PROPORTIONAL, {"convs": (27, 27, 28), "ratio": "2:1"}),
    ),
    *_family(
        "proportional.preresnet",
        CIFAR,
        RETHINKING,
        ("preresnet62", 952_794, 0, (), {"blocks": 10}),
        ("preresnet62_2to1", 952_794, 0, PROPORTIONAL, {"blocks": 10, "drop": (1,)}),
        ("preresnet110", 1_730_522, 0, (), {"blocks": 18}),
        ("preresnet110_2to1", 1_730_522, 0, PROPORTIONAL, {"blocks": 18, "drop": (1,)}),
        ("preresnet164", 2_605_466, 0, (), {"blocks": 27}),
        ("preresnet164_2to1", 2_605_466, 0, PROPORTIONAL, {"blocks": 27, "drop": (1,)}),
        ("preresnet110_bottleneck", 1_146_842, 0, (), {"blocks": 12, "bottleneck": True}),
        ("preresnet110_type1", 1_146_842, 0, PROPORTIONAL, {"blocks": 12, "bottleneck": True, "drop": (1,)}),
        ("preresnet110_type2", 1_146_842, 0, PROPORTIONAL, {"blocks": 12, "bottleneck": True, "drop": (2,)}),
        ("preresnet110_type3", 1_146_842, 0, PROPORTIONAL, {"blocks": 12, "bottleneck": True, "drop": (3,)}),
        ("preresnet164_bottleneck", 1_703_258, 0, (), {"blocks": 18, "bottleneck": True}),
        ("preresnet164_type1", 1_703_258, 0, PROPORTIONAL, {"blocks": 18, "bottleneck": True, "drop": (1,)}),
        ("preresnet164_type2", 1_703_258, 0, PROPORTIONAL, {"blocks": 18, "bottleneck": True, "drop": (2,)}),
        ("preresnet164_type3", 1_703_258, 0, PROPORTIONAL, {"blocks": 18, "bottleneck": True, "drop": (3,)}),
    ),
    *_family(
        "proportional.cifar_resnet",
        CIFAR,
        RETHINKING,
        ("resnet20", 272_474, 0, (), {"blocks": 3}),
        ("resnet20_drop_first", 272_474, 0, PROPORTIONAL, {"blocks": 3, "drop": "first"}),
        ("resnet20_drop_last", 272_474, 0, PROPORTIONAL, {"blocks": 3, "drop": "last"}),
    ),
    *_family(
        "dfn.dfn",
        CIFAR,
        f"{RETHINKING}; {FUSION}",
        ("dfn_mr1", 1_710_426, 0, (), {}),
        ("dfn_mr1_type1", 1_710_426, 0, PROPORTIONAL, {"kind": "type1"}),
        ("dfn_mr1_type1_second", 1_710_426, 0, PROPORTIONAL, {"kind": "type1", "branch": 1}),
        ("dfn_mr1_type2", 1_710_426, 0, PROPORTIONAL, {"kind": "type2"}),
        ("dfn_mr1_type2_second", 1_710_426, 0, PROPORTIONAL, {"kind": "type2", "branch": 1}),
    ),
    *_family("waveform.m5", ((1, 32000), 10), f"{RFCONV}; {WAVEFORM}", ("m5", 558_090, 4, RECTIFIED, {})),
    *_family("video.r3d", ((3, 16, 112, 112), 400), f"{RFCONV}; {VIDEO}", ("r3d_18", 33_371_472, 17, RECTIFIED, {})),
    *_family(
        "inpainting.inpainting_unet",
        ((4, 512, 512), 3),
        INPAINTING,
        ("inpainting_unet", 32_859_732, 0, ("masked",), {}),
    ),
    *_family(
        "digits.digits",
        ((1, 8, 8), 10),
        "all four papers, on scikit-learn's digits",
        ("digits", 52_026, 4, ("rectified", "c2sp", "crelu", "proportional"), {}),
    ),
)
