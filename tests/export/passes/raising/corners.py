"""Corners of symmetric padding, and what a raised SymmetricPad must say of them."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from rectexport.exporter.graph.dialect import attributes
from rectexport.plugins import reference

ORDERS = reference.SYMMETRIC_ORDERS
EXTRA = {"TL": (1, 1, 0, 0), "TR": (1, 0, 0, 1), "BL": (0, 1, 1, 0), "BR": (0, 0, 1, 1)}


def corner_pads(corner: str, kernel: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right)."""
    top, left, bottom, right = (kernel // 2 - 1 + extra for extra in EXTRA[corner])
    return top, left, bottom, right


def expected_attributes(sizes: Sequence[int], kernel: int, corners: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Attributes of the SymmetricPad with these groups."""
    return {"splits": tuple(sizes), "pads": tuple(pad for corner in corners for pad in corner_pads(corner, kernel))}


def found_attributes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Attributes of a model's one SymmetricPad."""
    (node,) = (node for node in model.graph.node if node.op_type == "SymmetricPad")
    return attributes(node)


PARTS = {"SymmetricPad": 1, "Conv": 1, "Pad": 0, "Concat": 0, "Split": 0, "Slice": 0}
