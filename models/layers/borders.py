"""What stands beyond the border of a padded axis, in torch terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Kinds of border; the first four are torch's padding modes.
BORDERS = ("zeros", "circular", "reflect", "replicate", "symmetric", "poles", "pole_points")
#: Kinds that turn the rows by half of the last axis.
POLAR = ("poles", "pole_points")
#: Kinds that reach one element less than the axis has, because they do not repeat the last one.
_MIRRORED = ("reflect", "pole_points")


def check_borders(borders: Sequence[str], count: int) -> tuple[str, ...]:
    """The borders of `count` axes. Raises ValueError for an unknown one, and for a pole on another axis than rows."""
    if len(borders) != count:
        raise ValueError(f"padding_mode: expected a mode or {count} of them, one an axis, got {tuple(borders)!r}")
    for index, border in enumerate(borders):
        if border not in BORDERS:
            raise ValueError(f"padding_mode: expected one of {', '.join(map(repr, BORDERS))}, got {border!r}")
        if border in POLAR and index != count - 2:
            raise ValueError(f"padding_mode: {border!r} is for the axis before the last, got {tuple(borders)!r}")
    return tuple(borders)


def check_reach(sizes: Sequence[int], pads: Sequence[int], borders: Sequence[str]) -> None:
    """Raise ValueError for an axis that is too short for its border."""
    for index, (size, border) in enumerate(zip(sizes, borders, strict=True)):
        widest = max(pads[index], pads[len(borders) + index])
        reach = widest if border in ("zeros", "replicate") else size - (border in _MIRRORED)
        if widest > reach:
            raise ValueError(
                f"padding: {border!r} reaches {reach} elements beyond an axis of {size}, got {widest}; "
                "pad less, or give a larger input"
            )


def extend(x: Tensor, pads: Sequence[int], borders: Sequence[str]) -> Tensor:
    """Extend the last axes of x [N, C, …], each with a border of its own kind; pads are begins, then ends.

    Rows beyond a pole come from x turned by half of its last axis, which is extended after them.
    """
    count = len(borders)
    for index, border in enumerate(borders):
        begin, end = pads[index], pads[count + index]
        if begin or end:
            x = _extended(x, 2 + index, begin, end, border)
    return x


def _extended(x: Tensor, axis: int, begin: int, end: int, border: str) -> Tensor:
    size = x.shape[axis]
    before = torch.arange(-begin, 0, device=x.device)
    behind = torch.arange(end, device=x.device)
    beyond = torch.roll(x, x.shape[-1] // 2, -1) if border in POLAR else x
    if border == "zeros":
        shape = list(x.shape)
        low, high = (x.new_zeros([*shape[:axis], amount, *shape[axis + 1 :]]) for amount in (begin, end))
        return torch.cat((low, x, high), axis)
    if border == "circular":
        places = before + size, behind
    elif border == "replicate":
        places = torch.zeros_like(before), torch.zeros_like(behind) + (size - 1)
    else:
        skipped = 1 if border in _MIRRORED else 0
        places = -before - 1 + skipped, size - 1 - skipped - behind
    return torch.cat((beyond.index_select(axis, places[0]), x, beyond.index_select(axis, places[1])), axis)
