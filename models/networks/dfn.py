"""Deep fusion network with merge-and-run blocks (DFN-MR), paired and proportional.

Source: On the Connection of Deep Fusion to Ensembling (Zhao et al.), zlmzju/fusenet `network/cross.py`; the
proportional types from Rethinking ReLU to Train Better CNNs (Zhao et al.).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rectexport.models.layers.geometry import one_of
from rectexport.models.networks.blocks import Head, MakeConv, counts, initialize, normalized, scaled, spatial_conv
from rectexport.models.networks.proportional import WIDTHS, relu

EPS = 2e-5
TYPES = ("paired", "type1", "type2")


class MergeAndRun(nn.Module):
    """Two separate branches that share the mean of their shortcuts.

    x1, x2 [N, inputs, H, W] each -> two tensors [N, outputs, ceil(H/stride), ceil(W/stride)]:
    relu(m + H1(x1)) and relu(m + H2(x2)), m = (s1(x1) + s2(x2)) / 2. The last block of a network gives
    relu(m + H1 + H2) twice. kind "type1" leaves out the ReLU after branch `branch`'s addition, except in the last
    block, whose one output belongs to neither; "type2" the ReLU inside that branch.
    Raises ValueError for any other kind, or a branch besides 0 and 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        last: bool = False,
        kind: str = "paired",
        branch: int = 0,
        make_conv: MakeConv,
    ) -> None:
        super().__init__()
        one_of(kind, TYPES, "kind")
        if branch not in (0, 1):
            raise ValueError(f"branch: expected 0 or 1, got {branch!r}")
        inner = [not (kind == "type2" and branch == index) for index in range(2)]
        self.branches = nn.ModuleList(_branch(inputs, outputs, stride, keep, make_conv) for keep in inner)
        self.shortcuts = nn.ModuleList(_shortcut(inputs, outputs, stride) for _ in range(2))
        self.last = last
        self.activated = tuple(not (kind == "type1" and branch == index) for index in range(2))

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        mean = 0.5 * (self.shortcuts[0](x1) + self.shortcuts[1](x2))
        y1, y2 = self.branches[0](x1), self.branches[1](x2)
        if self.last:
            merged = torch.relu(mean + y1 + y2)
            return merged, merged
        y1, y2 = mean + y1, mean + y2
        return torch.relu(y1) if self.activated[0] else y1, torch.relu(y2) if self.activated[1] else y2


def _branch(inputs: int, outputs: int, stride: int, keep: bool, make_conv: MakeConv) -> nn.Sequential:
    return nn.Sequential(
        make_conv(inputs, outputs, 3, stride, 1),
        normalized(outputs, relu(keep), EPS),
        make_conv(outputs, outputs, 3, 1, 1),
        normalized(outputs, None, EPS),
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), normalized(outputs, None, EPS))


class DFN(nn.Module):
    """Stem, merge-and-run blocks, mean, classifier. [N, 3, H, W] -> [N, num_classes]."""

    def __init__(self, stem: nn.Module, blocks: Sequence[MergeAndRun], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x1 = x2 = self.stem(x)
        for block in self.blocks:
            x1, x2 = block(x1, x2)
        return self.head(x1)


def dfn(
    num_classes: int = 10,
    blocks: Sequence[int] = (9, 9, 9),
    kind: str = "paired",
    branch: int = 0,
    conv: str = "plain",
    mode: str = "sum",
    width: float = 1.0,
) -> DFN:
    """A DFN-MR with `blocks` merge-and-run blocks of 16, 32 and 64 channels. [N, 3, H, W] -> [N, num_classes].

    kind and branch as in `MergeAndRun`; conv, mode and width as in `rectexport.models.networks.resnet.resnet`. Raises
    ValueError for options it does not know.
    """
    counts(blocks, 3, "blocks")
    make_conv = spatial_conv(conv, mode)
    widths = [scaled(w, width) for w in WIDTHS]
    chain: list[MergeAndRun] = []
    inputs = widths[0]
    for group, (count, outputs) in enumerate(zip(blocks, widths, strict=True)):
        for index in range(count):
            stride = 2 if group and index == 0 else 1
            last = len(chain) == sum(blocks) - 1
            block = MergeAndRun(inputs, outputs, stride, last=last, kind=kind, branch=branch, make_conv=make_conv)
            chain.append(block)
            inputs = outputs
    stem = nn.Sequential(make_conv(3, widths[0], 3, 1, 1), normalized(widths[0], relu(True), EPS))
    return DFN(stem, chain, Head(widths[-1], num_classes))
