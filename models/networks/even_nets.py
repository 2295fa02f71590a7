"""Pre-activation ResNet-50s whose 3x3 convolutions are C2sp or C4sp, and their odd-kernel twins.

Source: Convolution with Even-sized Kernels and Symmetric Padding (Wu et al.), boluoweifenda/CNN
`source/nets/resnet50_c2sp.py`. Its TensorFlow "SAME" padding is read as half the kernel on every side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from rectexport.models.layers.geometry import one_of
from rectexport.models.layers.pools import HalvingAvgPool2d
from rectexport.models.layers.symmetric import SymmetricConv2d
from rectexport.models.networks.blocks import (
    Head,
    MakeConv,
    PreActivation,
    counts,
    initialize,
    named,
    normalized,
    scaled,
    spatial_conv,
    stage,
)

KERNELS = {"c2sp": 2, "c4sp": 4, "3x3": 3, "5x5": 5}
MakeSpatial = Callable[[int], nn.Conv2d]


def spatial(kernel: str, order: str, remainder: str, make_conv: MakeConv) -> MakeSpatial:
    """A function from channels to the blocks' size-preserving convolution. Raises ValueError for an unknown kernel."""
    size = KERNELS[one_of(kernel, tuple(KERNELS), "kernel")]
    if size % 2 == 0:
        return lambda c: SymmetricConv2d(c, c, size, bias=False, order=order, remainder=remainder)
    return lambda c: make_conv(c, c, size, padding=size // 2)


def even_block(inputs: int, outputs: int, stride: int, *, middle: int, make_spatial: MakeSpatial) -> PreActivation:
    """1x1 -> spatial -> 1x1, pre-activated by BatchNorm and ReLU6; strides are 2x2 average pools.

    [N, inputs, H, W] -> [N, outputs, ceil(H/stride), ceil(W/stride)].
    """
    pool = [HalvingAvgPool2d()] if stride > 1 else []
    body = nn.Sequential(
        nn.Conv2d(inputs, middle, 1, bias=False),
        normalized(middle, nn.ReLU6()),
        *pool,
        make_spatial(middle),
        normalized(middle, nn.ReLU6()),
        nn.Conv2d(middle, outputs, 1, bias=False),
    )
    shortcut: list[nn.Module] = [HalvingAvgPool2d()] if stride > 1 else []
    shortcut += [nn.Conv2d(inputs, outputs, 1, bias=False)] if inputs != outputs else []
    return PreActivation(normalized(inputs, nn.ReLU6()), body, nn.Sequential(*shortcut) if shortcut else None)


def even_resnet(
    num_classes: int = 1000,
    kernel: str = "c2sp",
    order: str = "wu",
    remainder: str = "first",
    stem: tuple[int, int] = (7, 64),
    maxpool: bool = True,
    blocks: Sequence[int] = (3, 4, 6, 3),
    widths: Sequence[int] = (128, 256, 512, 1024),
    last: int = 0,
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> nn.Sequential:
    """A pre-activation bottleneck ResNet with even or odd kernels. [N, 3, H, W] -> [N, num_classes].

    kernel "c2sp", "c4sp" or their odd twins "3x3", "5x5"; order and remainder as in
    rectexport.models.layers.symmetry. stem is (kernel, channels) of a convolution of stride 2, without BatchNorm;
    widths are the stages' outputs, four times their inner channels; last, unless 0, is the width of a final 1x1
    convolution. conv and mode, which concern odd kernels, and width as in `rectexport.models.networks.resnet.resnet`.
    Raises ValueError for options it does not know.
    """
    counts(blocks, len(widths), "blocks"), counts(widths, len(widths), "widths")
    make_conv = spatial_conv(conv, mode)
    make_spatial = spatial(kernel, order, remainder, make_conv)
    channels = [scaled(c, width, 16) for c in (stem[1], *widths)]
    make = [partial(even_block, middle=c // 4, make_spatial=make_spatial) for c in channels[1:]]
    stages = [stage(make[i], blocks[i], channels[i], channels[i + 1], 1 if i == 0 else 2) for i in range(len(widths))]
    modules: dict[str, nn.Module] = {"stem": make_conv(3, channels[0], stem[0], 2, stem[0] // 2)}
    modules |= {"pool": nn.MaxPool2d(3, 2, 1)} if maxpool else {}
    modules |= {f"stage{index}": module for index, module in enumerate(stages, 1)}
    modules["norm"] = normalized(channels[-1], nn.ReLU6())
    if last:
        channels.append(scaled(last, width))
        modules["last"] = nn.Conv2d(channels[-2], channels[-1], 1, bias=False)
        modules["last_norm"] = normalized(channels[-1], nn.ReLU6())
    model = named(**modules, head=Head(channels[-1], num_classes))
    initialize(model)
    return model
