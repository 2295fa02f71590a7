"""Sizes, paddings and tap counts of a convolution window, in torch terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Padding = int | str | Sequence[int]
MODES = ("sum", "average")
BIAS_MODES = ("after", "inside")
EMPTY = ("bias", "zero")


@dataclass(frozen=True)
class Window:
    """How a kernel slides over one, two or three zero-padded axes.

    pads are ONNX's: the axes' begins, then their ends. stride, pads and dilation default to 1, 0 and 1 on every axis.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.kernel)
        for name, default in (("stride", (1,) * count), ("pads", (0,) * 2 * count), ("dilation", (1,) * count)):
            object.__setattr__(self, name, getattr(self, name) or default)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The convolution's output along each axis."""
        axes = zip(size, self.pads, self.pads[len(size) :], self.kernel, self.stride, self.dilation, strict=False)
        return tuple(
            (length + begin + end - dilation * (kernel - 1) - 1) // stride + 1
            for length, begin, end, kernel, stride, dilation in axes
        )


def per_axis(value: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    """An int, or as many as there are axes, as a tuple of `count`; raises ValueError for any other length."""
    values = (value,) if isinstance(value, int) else tuple(int(entry) for entry in value)
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise ValueError(f"{name}: expected an int or {count} of them, got {value!r}")
    return values


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """`per_axis` of two axes."""
    first, second = per_axis(value, 2, name)
    return first, second


def resolve_padding(
    padding: Padding, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Padding in any of torch's spellings as ONNX's: the axes' begins, then their ends.

    Accepts an int, one an axis, two an axis in the order of torch.nn.functional.pad (the last axis first), "valid",
    or "same" (an odd total puts the extra element at the end, as torch.nn.Conv2d does). Raises ValueError for
    anything else, for "same" with a stride, and for negative pads.
    """
    count = len(kernel)
    if padding == "valid":
        return (0,) * 2 * count
    if padding == "same":
        if set(stride) != {1}:
            raise ValueError(f"padding='same' needs stride 1, got stride {tuple(stride)}")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    if isinstance(padding, str):
        raise ValueError(f"padding: expected ints, 'same' or 'valid', got {padding!r}")
    if isinstance(padding, int) or len(padding) != 2 * count:
        pads = 2 * per_axis(padding, count, "padding")
    else:
        pads = tuple(int(pad) for pad in (*list(padding)[-2::-2], *list(padding)[::-2]))
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
    size: Sequence[int], window: Window, mode: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """r of eq. (4) (mode "sum": taps/v) or eq. (6) (mode "average": 1/v); 0 where v = 0.

    size, the convolution's input along the window's axes -> its output along them.
    """
    taps, count = torch.ones((), dtype=torch.int64, device=device), len(window.kernel)
    for axis, out in enumerate(window.output_size(size)):
        kernel, stride, dilation = window.kernel[axis], window.stride[axis], window.dilation[axis]
        inside = valid_taps(size[axis], out, kernel, stride, window.pads[axis], dilation, device)
        taps = taps * inside.view(-1, *(1,) * (count - 1 - axis))
    scale = prod(window.kernel) if mode == "sum" else 1
    return torch.where(taps > 0, scale / taps.clamp(min=1).to(dtype), 0.0)
