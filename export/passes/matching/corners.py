"""The four corners of symmetric padding, as pads and as groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.models.layers.symmetry import group_sizes

#: What the extra row and column of a corner add to (top, left, bottom, right).
CORNERS = {"TL": (1, 1, 0, 0), "TR": (1, 0, 0, 1), "BL": (0, 1, 1, 0), "BR": (0, 0, 1, 1)}
#: Padding of k = 2 and of k = 4 on the sides away from the corner.
BASES = (0, 1)


def corner_pads(corners: Sequence[str], base: int) -> list[int]:
    """(top, left, bottom, right) of each group in turn."""
    return [base + extra for corner in corners for extra in CORNERS[corner]]


def are_symmetric(pads: Sequence[int]) -> bool:
    """Whether 16 pads are those of four groups with four different corners, for k = 2 or 4."""
    base = min(pads)
    groups = {tuple(value - base for value in pads[4 * index : 4 * index + 4]) for index in range(4)}
    return base in BASES and groups == set(CORNERS.values())


def is_division(sizes: Sequence[int]) -> bool:
    """Whether these are the sizes of four groups, by either rule for a remainder of the division by four."""
    channels = sum(sizes)
    return list(sizes) in (group_sizes(channels, "first"), group_sizes(channels, "last"))
