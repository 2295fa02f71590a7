"""Convolutions with a border of any kind, axis by axis, as functions and modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport.models.layers import ops
from rectexport.models.layers.borders import BORDERS, check_borders, check_reach, extend
from rectexport.models.layers.geometry import resolve_padding

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def boundary_pad(x: Tensor, pads: Sequence[int], borders: Sequence[str]) -> Tensor:
    """Extend the last axes of x, each with a border of its own kind; keeps the dtype.

    x [N, C, …]; borders, one for each of the one, two or three axes behind the channels, of
    `rectexport.models.layers.borders.BORDERS`; pads, the begins of these axes and then their ends. Raises ValueError
    for unknown borders, negative pads, and axes that are too short for their border.

    Sources: torch.nn.functional.pad, numpy.pad; PeriodicPad2d and GeoCyclicPadding of weather models.
    """
    check_borders(borders, x.dim() - 2)
    if len(pads) != 2 * len(borders) or min(pads) < 0:
        raise ValueError(f"pads: expected {2 * len(borders)} non-negative ints, begins then ends, got {tuple(pads)}")
    if torch.compiler.is_exporting():
        return ops.boundary_pad(x, [BORDERS.index(border) for border in borders], list(pads))
    check_reach(x.shape[2:], pads, borders)
    return extend(x, pads, borders)


def boundary_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    pads: Sequence[int] = (),
    borders: Sequence[str] = (),
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`boundary_pad`, then a convolution without padding, along one, two or three axes.

    x [N, C_in, …] or one item [C_in, …], weight [C_out, C_in/groups, …], bias [C_out] -> [N, C_out, …]. Raises
    ValueError as `boundary_pad` does.
    """
    count = weight.dim() - 2
    if x.dim() == count + 1:
        return boundary_conv(x[None], weight, bias, stride, pads, borders, dilation, groups)[0]
    padded = boundary_pad(x, pads, borders)
    return _CONVOLUTIONS[count](padded, weight, bias, stride, 0, dilation, groups)


class _BoundaryConv:
    """What the three modules share; comes before torch's class among their bases."""

    padding_mode: Any
    pads: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str | Sequence[str] = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {"groups": groups, "bias": bias, "device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, **options)  # type: ignore[call-arg]
        module: Any = self
        count = len(module.kernel_size)
        self.padding_mode = check_borders(
            (padding_mode,) * count if isinstance(padding_mode, str) else tuple(padding_mode), count
        )
        self.pads = resolve_padding(padding, module.kernel_size, module.stride, module.dilation)
        module.padding = (
            (padding,) * count if isinstance(padding, int) else padding if isinstance(padding, str) else tuple(padding)
        )

    def forward(self, input: Tensor) -> Tensor:
        """[N, C_in, …] -> [N, C_out, …], or one item without N."""
        module: Any = self
        return boundary_conv(
            input,
            module.weight,
            module.bias,
            module.stride,
            self.pads,
            self.padding_mode,
            module.dilation,
            module.groups,
        )


_TEXT = """Drop-in for torch.nn.Conv{0}d whose padding_mode may differ between axes.

    Takes torch.nn.Conv{0}d's arguments and has its state-dict keys. padding_mode is one of "zeros", "circular",
    "reflect", "replicate", "symmetric", "poles" and "pole_points" (`rectexport.models.layers.borders`), or a tuple of
    them, one an axis in the order of the kernel's. padding may also be two ints an axis, in the order of
    torch.nn.functional.pad. Raises ValueError for unknown options, and in forward for an input that is too small.
    """


class BoundaryConv1d(_BoundaryConv, nn.Conv1d):
    __doc__ = _TEXT.format(1)


class BoundaryConv2d(_BoundaryConv, nn.Conv2d):
    __doc__ = _TEXT.format(2)


class BoundaryConv3d(_BoundaryConv, nn.Conv3d):
    __doc__ = _TEXT.format(3)
