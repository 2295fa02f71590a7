"""CIFAR networks with fewer ReLUs than convolutions, and their paired (1:1) twins. All keep every BatchNorm.

Source: Rethinking ReLU to Train Better CNNs (Zhao et al.). A pre-activation block's projection takes the block's
normalized (and, where the first ReLU is kept, activated) input.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from torch import nn

from rectexport.models.networks.blocks import (
    BasicBlock,
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

WIDTHS = (16, 32, 64)


def relu(keep: bool) -> nn.Module | None:
    """A ReLU, or None if it is left out."""
    return nn.ReLU(inplace=True) if keep else None


def conv_unit(inputs: int, outputs: int, stride: int, keep: bool, make_conv: MakeConv) -> nn.Sequential:
    """3x3 convolution, BatchNorm and, if kept, ReLU. [N, inputs, H, W] -> [N, outputs, …]."""
    return nn.Sequential(make_conv(inputs, outputs, 3, stride, 1), normalized(outputs, relu(keep)))


def plain(
    num_classes: int = 10,
    convs: Sequence[int] = (12, 12, 12),
    ratio: str = "1:1",
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> nn.Sequential:
    """A plain network of 3x3 convolutions with BatchNorm. [N, 3, H, W] -> [N, num_classes].

    convs are the layers of the groups of 16, 32 and 64 channels, numbered through; ratio "2:1" leaves out the
    ReLU after layers 1, 3, 5, …, not counting the stem. conv, mode and width as in
    `rectexport.models.networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    if ratio not in ("1:1", "2:1"):
        raise ValueError(f"ratio: expected '1:1' or '2:1', got {ratio!r}")
    counts(convs, 3, "convs")
    make_conv = spatial_conv(conv, mode)
    widths = [scaled(w, width) for w in WIDTHS]
    modules: dict[str, nn.Module] = {"stem": conv_unit(3, widths[0], 1, True, make_conv)}
    inputs, layer = widths[0], 0
    for index, (count, outputs) in enumerate(zip(convs, widths, strict=True)):
        group = nn.Sequential()
        for first in [True] + [False] * (count - 1):
            layer += 1
            stride = 2 if first and index else 1
            group.append(conv_unit(inputs, outputs, stride, ratio == "1:1" or layer % 2 == 0, make_conv))
            inputs = outputs
        modules[f"group{index + 1}"] = group
    model = named(**modules, head=Head(inputs, num_classes))
    initialize(model)
    return model


def basic_body(inputs: int, outputs: int, stride: int, drop: Collection[int], make_conv: MakeConv) -> nn.Sequential:
    """3x3 -> BatchNorm -> ReLU 2 -> 3x3."""
    return nn.Sequential(
        make_conv(inputs, outputs, 3, stride, 1),
        normalized(outputs, relu(2 not in drop)),
        make_conv(outputs, outputs, 3, 1, 1),
    )


def bottleneck_body(
    inputs: int, outputs: int, stride: int, drop: Collection[int], make_conv: MakeConv
) -> nn.Sequential:
    """1x1 -> BatchNorm -> ReLU 2 -> 3x3 -> BatchNorm -> ReLU 3 -> 1x1; the 3x3 carries the stride."""
    middle = outputs // 4
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1, bias=False),
        normalized(middle, relu(2 not in drop)),
        make_conv(middle, middle, 3, stride, 1),
        normalized(middle, relu(3 not in drop)),
        nn.Conv2d(middle, outputs, 1, bias=False),
    )


def preactivation_block(
    inputs: int, outputs: int, stride: int, *, bottleneck: bool, drop: Collection[int], make_conv: MakeConv
) -> PreActivation:
    """A basic or bottleneck pre-activation block without the ReLUs numbered in drop, counted from 1.

    [N, inputs, H, W] -> [N, outputs, ceil(H/stride), ceil(W/stride)]. A basic block with drop 1 is
    x + W2·relu(BN2(W1·BN1(x))), the 2:1 form; a bottleneck with drop t is 3:2 of Type t.
    """
    body = (bottleneck_body if bottleneck else basic_body)(inputs, outputs, stride, drop, make_conv)
    identity = stride == 1 and inputs == outputs
    shortcut = None if identity else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return PreActivation(normalized(inputs, relu(1 not in drop)), body, shortcut)


def preresnet(
    num_classes: int = 10,
    blocks: int = 10,
    bottleneck: bool = False,
    drop: Sequence[int] = (),
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> nn.Sequential:
    """A pre-activation ResNet with `blocks` blocks in each of three stages. [N, 3, H, W] -> [N, num_classes].

    drop numbers the ReLUs left out of every block, from 1. conv, mode and width as in
    `rectexport.models.networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    relus = 3 if bottleneck else 2
    if any(number not in range(1, relus + 1) for number in drop):
        raise ValueError(f"drop: expected numbers from 1 to {relus}, got {drop!r}")
    counts([blocks], 1, "blocks")
    make_conv = spatial_conv(conv, mode)
    inner = [scaled(w, width) for w in WIDTHS]
    widths = [inner[0], *(w * (4 if bottleneck else 1) for w in inner)]
    make = partial(preactivation_block, bottleneck=bottleneck, drop=drop, make_conv=make_conv)
    stages = {f"stage{i + 1}": stage(make, blocks, widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(3)}
    model = named(
        stem=make_conv(3, widths[0], 3, 1, 1),
        **stages,
        norm=normalized(widths[-1], nn.ReLU()),
        head=Head(widths[-1], num_classes),
    )
    initialize(model)
    return model


def cifar_resnet(
    num_classes: int = 10,
    blocks: int = 3,
    drop: str = "none",
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> nn.Sequential:
    """A ResNet of `blocks` basic blocks in each of three stages. [N, 3, H, W] -> [N, num_classes].

    drop "none", "first" or "last" as in `rectexport.models.networks.blocks.BasicBlock`. conv, mode and width as in
    `rectexport.models.networks.resnet.resnet`. Raises ValueError for options it does not know.
    """
    counts([blocks], 1, "blocks")
    make_conv = spatial_conv(conv, mode)
    inner = [scaled(w, width) for w in WIDTHS]
    widths = [inner[0], *inner]
    make = partial(BasicBlock, make_conv=make_conv, drop=drop)
    stages = {f"stage{i + 1}": stage(make, blocks, widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(3)}
    model = named(stem=conv_unit(3, widths[0], 1, True, make_conv), **stages, head=Head(widths[-1], num_classes))
    initialize(model)
    return model
