"""Even kernels with symmetric padding (C2sp, C4sp) as modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rectexport.models.layers.functional import symmetric_conv2d, symmetric_pad2d
from rectexport.models.layers.symmetry import group_pads, group_sizes


class SymmetricPad2d(nn.Module):
    """Zero padding of four channel groups towards four corners. [N, C, H, W] -> [N, C, H+k-1, W+k-1].

    kernel_size 2 or 4; order and remainder as in rectexport.models.layers.symmetry.
    Raises ValueError for options it does not know.

    Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
    """

    def __init__(self, kernel_size: int = 2, order: str = "wu", remainder: str = "first") -> None:
        super().__init__()
        group_pads(kernel_size, order), group_sizes(4, remainder)
        self.kernel_size, self.order, self.remainder = kernel_size, order, remainder

    def forward(self, input: Tensor) -> Tensor:
        return symmetric_pad2d(input, self.kernel_size, self.order, self.remainder)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, order={self.order}, remainder={self.remainder}"


class SymmetricConv2d(nn.Conv2d):
    """Convolution with an even kernel over symmetric padding; state-dict keys of torch.nn.Conv2d.

    [N, C_in, H, W] -> [N, C_out, (H-1)//stride + 1, (W-1)//stride + 1]. kernel_size 2 (C2sp) or 4 (C4sp);
    order and remainder as in rectexport.models.layers.symmetry. Raises ValueError for options it does not know.

    Source: Convolution with even-sized kernels and symmetric padding (Wu et al.).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 2,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        order: str = "wu",
        remainder: str = "first",
    ) -> None:
        group_pads(kernel_size, order), group_sizes(in_channels, remainder)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )
        self.order, self.remainder = order, remainder

    def forward(self, input: Tensor) -> Tensor:
        stride: Any = self.stride
        return symmetric_conv2d(input, self.weight, self.bias, stride, self.groups, self.order, self.remainder)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, order={self.order}, remainder={self.remainder}"
