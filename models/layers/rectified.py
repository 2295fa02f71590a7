"""Rectified convolution as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rectexport.models.layers.functional import rectified_conv2d
from rectexport.models.layers.geometry import BIAS_MODES, EMPTY, MODES, Padding, one_of, pair, resolve_padding


class RectifiedConv2d(nn.Conv2d):
    """Drop-in for torch.nn.Conv2d that rectifies its output for zero padding.

    Takes torch.nn.Conv2d's arguments and has its state-dict keys. padding may also be four ints, (left,
    right, top, bottom). mode, bias_mode and empty as in `rectexport.models.layers.functional.rectified_conv2d`.
    Raises ValueError for unknown options and for a padding_mode other than "zeros": without zero padding there
    is nothing to rectify.

    Source: Rectified Convolution (Zhang), eqs. (4) and (6).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        mode: str = "sum",
        bias_mode: str = "after",
        empty: str = "bias",
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode: expected 'zeros', got {padding_mode!r}: nothing to rectify")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.mode = one_of(mode, MODES, "mode")
        self.bias_mode = one_of(bias_mode, BIAS_MODES, "bias_mode")
        self.empty = one_of(empty, EMPTY, "empty")
        kernel, steps = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        resolve_padding(padding, kernel, steps, pair(dilation, "dilation"))
        self.padding = padding if isinstance(padding, str) else self._torch_padding(padding)

    @staticmethod
    def _torch_padding(padding: Any) -> tuple[int, ...]:
        if not isinstance(padding, int) and len(padding) == 4:
            return tuple(padding)
        return pair(padding, "padding")

    def forward(self, input: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, H_out, W_out]."""
        return rectified_conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,  # type: ignore[arg-type]
            self.padding,
            self.dilation,  # type: ignore[arg-type]
            self.groups,
            self.mode,
            self.bias_mode,
            self.empty,
        )

    def extra_repr(self) -> str:
        options = f"mode={self.mode}, bias_mode={self.bias_mode}"
        return f"{super().extra_repr()}, {options}" + (", empty=zero" if self.empty == "zero" else "")
