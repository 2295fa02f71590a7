"""Rectified convolution as modules, along one, two and three axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rectexport.models.layers.functional import rectified_conv
from rectexport.models.layers.geometry import BIAS_MODES, EMPTY, MODES, Padding, one_of, per_axis, resolve_padding


class _RectifiedConv:
    """What the three modules share; comes before torch's class among their bases."""

    mode: str
    bias_mode: str
    empty: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
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
        options: dict[str, Any] = {"groups": groups, "bias": bias, "device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, **options)  # type: ignore[call-arg]
        module: Any = self
        self.mode = one_of(mode, MODES, "mode")
        self.bias_mode = one_of(bias_mode, BIAS_MODES, "bias_mode")
        self.empty = one_of(empty, EMPTY, "empty")
        count = len(module.kernel_size)
        for name in ("kernel_size", "stride", "dilation"):
            per_axis(getattr(module, name), count, name)
        resolve_padding(padding, module.kernel_size, module.stride, module.dilation)
        if isinstance(padding, str):
            module.padding = padding
        else:
            sides = not isinstance(padding, int) and len(padding) == 2 * count
            module.padding = tuple(padding) if sides else per_axis(padding, count, "padding")  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        """[N, C_in, …] -> [N, C_out, …], or one item without N."""
        module: Any = self
        return rectified_conv(
            input,
            module.weight,
            module.bias,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            self.mode,
            self.bias_mode,
            self.empty,
        )

    def extra_repr(self) -> str:
        """torch's text and the options of rectification."""
        text: str = super().extra_repr()  # type: ignore[misc]
        options = f"mode={self.mode}, bias_mode={self.bias_mode}"
        return f"{text}, {options}" + (", empty=zero" if self.empty == "zero" else "")


_TEXT = """Drop-in for torch.nn.Conv{0}d that rectifies its output for zero padding.

    Takes torch.nn.Conv{0}d's arguments and has its state-dict keys. padding may also be two ints an axis, in the
    order of torch.nn.functional.pad. mode, bias_mode and empty as in
    `rectexport.models.layers.functional.rectified_conv`. Raises ValueError for unknown options and for a padding_mode
    other than "zeros": without zero padding there is nothing to rectify.

    Source: Rectified Convolution (Zhang), eqs. (4) and (6).
    """


class RectifiedConv1d(_RectifiedConv, nn.Conv1d):
    __doc__ = _TEXT.format(1)


class RectifiedConv2d(_RectifiedConv, nn.Conv2d):
    __doc__ = _TEXT.format(2)


class RectifiedConv3d(_RectifiedConv, nn.Conv3d):
    __doc__ = _TEXT.format(3)


#: All of them, by the number of axes less one; also for isinstance.
RECTIFIED = (RectifiedConv1d, RectifiedConv2d, RectifiedConv3d)
