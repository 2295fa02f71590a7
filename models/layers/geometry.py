"""Sizes, paddings and tap counts of a convolution window, in torch terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Padding = int | str | Sequence[int]
MODES = ("sum", "average")
BIAS_MODES = ("after", "inside")
EMPTY = ("bias", "zero")


@dataclass(frozen=True)
class Window:
    """How a kernel slides over a zero-padded plane; pads are ONNX's (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the convolution's output."""
        top, left, bottom, right = self.pads
        return (
            (height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.stride[0] + 1,
            (width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1,
        )


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """An int or a pair as a pair; raises ValueError for any other length."""
    if isinstance(value, int):
        return (value, value)
    values = tuple(int(v) for v in value)
    if len(values) == 1:
        return (values[0], values[0])
    if len(values) != 2:
        raise ValueError(f"{name}: expected an int or two ints, got {value!r}")
    return (values[0], values[1])


def resolve_padding(
    padding: Padding, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Padding in any of torch's spellings as ONNX's (top, left, bottom, right).

    Accepts an int, (vertical, horizontal), (left, right, top, bottom) in the order of
    torch.nn.functional.pad, "valid", or "same" (an odd total puts the extra row and column at the end,
    as torch.nn.Conv2d does). Raises ValueError for anything else, for "same" with a stride, and for
    negative pads.
    """
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    if isinstance(padding, str):
        raise ValueError(f"padding: expected ints, 'same' or 'valid', got {padding!r}")
    if isinstance(padding, int) or len(padding) < 4:
        vertical, horizontal = pair(padding, "padding")
        pads = (vertical, horizontal, vertical, horizontal)
    elif len(padding) == 4:
        left, right, top, bottom = (int(p) for p in padding)
        pads = (top, left, bottom, right)
    else:
        raise ValueError(f"padding: expected 1, 2 or 4 ints, got {padding!r}")
    if min(pads) < 0:
        raise ValueError(f"padding: expected non-negative ints, got {padding!r}")
    return pads


def one_of(value: str, allowed: tuple[str, ...], name: str) -> str:
    """`value` if it is allowed; raises ValueError that lists what is."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def valid_taps(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int, device: torch.device) -> Tensor:
    """How many taps of each window fall inside the input, along one axis; int64 [out].

    Tap i of output o reads o*stride - pad + i*dilation. The first tap inside has index ceil(-start/dilation)
    and the last floor((size - 1 - start)/dilation), both clamped to the kernel.
    """
    start = torch.arange(out, device=device) * stride - pad
    first = (-torch.div(start, dilation, rounding_mode="floor")).clamp(min=0)
    last = torch.div(size - 1 - start, dilation, rounding_mode="floor").clamp(max=kernel - 1)
    return (last - first + 1).clamp(min=0)


def rectification_map(
    height: int, width: int, window: Window, mode: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """r of eq. (4) (mode "sum": m*n/v) or eq. (6) (mode "average": 1/v); 0 where v = 0. [H_out, W_out]."""
    rows, columns = window.output_size(height, width)
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    top, left = window.pads[:2]
    taps_h = valid_taps(height, rows, kh, sh, top, dh, device)
    taps_w = valid_taps(width, columns, kw, sw, left, dw, device)
    taps = taps_h[:, None] * taps_w[None, :]
    scale = kh * kw if mode == "sum" else 1
    return torch.where(taps > 0, scale / taps.clamp(min=1).to(dtype), 0.0)
