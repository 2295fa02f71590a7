"""Periodic padding in operators that every engine takes.

Given   y = Pad(x, amounts, mode "wrap"), b before and e behind along an axis of size n
Result  y = Concat(x[n−b:], x, x[:e]) along that axis, one axis after the other: Slices where n is known and b, e ≤ n

Where n is known and smaller, or open, the strips are Gather(x, indices): (−b … −1) mod n before, (0 … e−1) mod n
behind, with n = Shape(x)[axis]. So a period may repeat, as in ONNX.

Exact: every element is copied. Needed because OpenVINO refuses mode "wrap", TensorRT takes it from 10.0 on, and ONNX
has it from opset 19 on (torch.onnx writes it at 18).

Not when amounts or axes are not constant, or where an amount is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit, attribute

NAME = "wrap_pad"
#: An axis, how many elements come before it and how many behind it.
Amount = tuple[int, int, int]
_END = np.iinfo(np.int64).max


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every Pad with mode "wrap" and constant amounts."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("Pad")):
        if attribute(node, "mode", "constant") != "wrap":
            continue
        amounts = _amounts(edit, node)
        if isinstance(amounts, str):
            edit.refuse(node, amounts)
            continue
        edit.replace(node, _pieces(edit, node, amounts))
    return edit.close()


def _amounts(edit: Edit, node: NodeProto) -> list[Amount] | str:
    """What to add along each axis, or why it cannot be written."""
    if edit.opset < LEAST_OPSET:
        return f"the model has opset {edit.opset}, below {LEAST_OPSET}"
    pads, shape = edit.constant(node.input[1]), edit.shape(node.input[0])
    if pads is None:
        return "its amounts are not constant"
    axes = _axes(edit, node, len(pads) // 2, None if shape is None else len(shape))
    if axes is None:
        return "its axes are not known"
    numbers = [int(value) for value in pads]
    amounts = list(zip(axes, numbers[: len(axes)], numbers[len(axes) :], strict=True))
    if any(min(before, behind) < 0 for _, before, behind in amounts):
        return "it removes elements"
    return [amount for amount in amounts if amount[1] or amount[2]]


def _axes(edit: Edit, node: NodeProto, count: int, rank: int | None) -> list[int] | None:
    if len(node.input) < 4 or not node.input[3]:
        return list(range(count))
    axes = edit.constant(node.input[3])
    if axes is None or rank is None:
        return None
    return [int(axis) % rank for axis in axes]


def _pieces(edit: Edit, node: NodeProto, amounts: Sequence[Amount]) -> list[NodeProto]:
    writer = _Writer(edit, node)
    if not amounts:
        return [helper.make_node("Identity", [node.input[0]], [node.output[0]], node.name)]
    x = node.input[0]
    for place, (axis, before, behind) in enumerate(amounts):
        parts = [x]
        if before:
            parts.insert(0, writer.strip(x, axis, np.arange(-before, 0)))
        if behind:
            parts.append(writer.strip(x, axis, np.arange(behind)))
        x = writer.add("Concat", parts, node.output[0] if place == len(amounts) - 1 else "", axis=axis)
    return writer.nodes


class _Writer:
    """Collects the nodes that stand in a Pad's place."""

    def __init__(self, edit: Edit, pad: NodeProto) -> None:
        self._edit, self._pad = edit, pad
        self._shape = edit.shape(pad.input[0])
        self.nodes: list[NodeProto] = []

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Append a node; returns the tensor that it makes."""
        result = output or self._edit.fresh(self._pad.output[0])
        self.nodes.append(helper.make_node(operator, inputs, [result], self._edit.fresh(result), **attributes))
        return result

    def strip(self, x: str, axis: int, places: NDArray[np.int64]) -> str:
        """The elements of x at these places along an axis, counted modulo its size."""
        size = None if self._shape is None else self._shape[axis]
        if size is None:
            return self.add("Gather", [x, self._places(x, axis, places)], axis=axis)
        if len(places) > size:
            return self.add("Gather", [x, self._edit.store("places", places % size)], axis=axis)
        bounds = (int(places[0]), int(places[-1] + 1) or _END, axis)
        stored = [self._edit.store("bound", np.array([value], np.int64)) for value in bounds]
        return self.add("Slice", [x, *stored])

    def _places(self, x: str, axis: int, places: NDArray[np.int64]) -> str:
        """The places modulo the size, computed in the graph; shifted by whole periods so that none is negative."""
        store = self._edit.store
        size = self.add("Gather", [self.add("Shape", [x]), store("axis", np.array([axis], np.int64))], axis=0)
        if places[0] < 0:
            periods = self.add("Mul", [size, store("periods", np.array([len(places)], np.int64))])
            shifted = self.add("Add", [periods, store("places", places)])
        else:
            shifted = store("places", places)
        return self.add("Mod", [shifted, size])
