"""Channel groups and corners of symmetric padding (C2sp, C4sp)."""

from __future__ import annotations

from rectexport.models.layers.geometry import one_of

#: Corner that gets the extra padding, for channel groups 0..3. Weights fit only the order they were trained with.
ORDERS = {
    "wu": ("BR", "TL", "BL", "TR"),  # the authors' code, boluoweifenda/CNN
    "wu_poster": ("BR", "BL", "TR", "TL"),  # the authors' poster
    "elnas": ("TL", "TR", "BL", "BR"),  # jamiejyhu/EL-NAS Spconv2d
    "symmetricpad2d": ("TL", "BL", "TR", "BR"),  # the widely copied PyTorch SymmetricPad2d
}
REMAINDERS = ("first", "last", "error")


def group_sizes(channels: int, remainder: str = "first") -> list[int]:
    """Channels of the four contiguous groups.

    remainder "first": the first C % 4 groups get one more (the authors); "last": the last group takes the
    rest (SymmetricPad2d); "error": ValueError unless C divides by four (EL-NAS).
    """
    one_of(remainder, REMAINDERS, "remainder")
    base, rest = divmod(channels, 4)
    if rest and remainder == "error":
        raise ValueError(f"channels: expected a multiple of 4 with remainder='error', got {channels}")
    if remainder == "last":
        return [base, base, base, base + rest]
    return [base + (1 if index < rest else 0) for index in range(4)]


def group_pads(kernel_size: int, order: str = "wu") -> list[int]:
    """(top, left, bottom, right) of each of the four groups, in one list of 16."""
    if kernel_size not in (2, 4):
        raise ValueError(f"kernel_size: expected 2 or 4, got {kernel_size!r}")
    one_of(order, tuple(ORDERS), "order")
    base = kernel_size // 2 - 1
    pads: list[int] = []
    for corner in ORDERS[order]:
        vertical, horizontal = corner[0], corner[1]
        pads += [
            base + (vertical == "T"),
            base + (horizontal == "L"),
            base + (vertical == "B"),
            base + (horizontal == "R"),
        ]
    return pads
