"""Pools with ceil_mode whose last windows OpenVINO treats otherwise than ONNX.

Size n, window extent k = dilation · (kernel − 1) + 1, stride s, padding b before and e behind, m = n + b + e:

    o = ⌈(m − k) / s⌉ + 1 windows; the last is left out where it begins behind the input, (o − 1) · s ≥ n + b

Given   y = AveragePool(x, ceil_mode 1, count_include_pad 1), some padding
Result  y = AveragePool(Pad(x, zeros), no padding, ceil_mode 1, count_include_pad 0)

A window's divisor is the number of its elements inside the padded tensor, in both: exact. OpenVINO 2026.4.1 divides
the last window of the first by more.

Given   y = MaxPool(x, ceil_mode 1) where the last window is left out along an axis
Result  y = MaxPool(x, ceil_mode 0) with e chosen so that the same windows are counted

Exact: padding counts as −∞. OpenVINO 2026.4.1 keeps the window, so that y is larger.

Where s + e ≤ k along an axis no window begins behind the input, whatever n is: such an axis may be open. Must not
fire where an axis is open otherwise, or with auto_pad.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit, attribute

NAME = "ceil_pool"


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a pool; size None where it is open."""

    size: int | None
    extent: int
    stride: int
    before: int
    behind: int

    @property
    def never_left_out(self) -> bool:
        """Whether no window begins behind the input, at any size."""
        return self.stride + self.behind <= self.extent

    @property
    def left_out(self) -> bool:
        """Whether the last window begins behind the input, for a known size."""
        return not self.never_left_out and self._last * self.stride >= (self.size or 0) + self.before

    @property
    def fitting(self) -> int:
        """Padding behind with which the windows that count fit exactly; negative where elements are in no window."""
        last = self._last - self.left_out
        return last * self.stride + self.extent - (self.size or 0) - self.before

    @property
    def _last(self) -> int:
        whole = (self.size or 0) + self.before + self.behind - self.extent
        return -(-whole // self.stride)


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every pool with ceil_mode that needs it."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("AveragePool", "MaxPool")):
        if not attribute(node, "ceil_mode", 0) or not any(attribute(node, "pads", [])):
            continue
        average = node.op_type == "AveragePool"
        if average and not attribute(node, "count_include_pad", 0):
            continue
        axes = _axes(edit, node)
        if isinstance(axes, str):
            edit.refuse(node, axes)
        elif average:
            edit.replace(node, _padded(edit, node, axes))
        elif any(axis.left_out for axis in axes):
            edit.replace(node, [_floored(node, axes)])
    return edit.close()


def _axes(edit: Edit, node: NodeProto) -> list[Axis] | str:
    """The spatial axes, or why the pool is left alone."""
    if edit.opset < LEAST_OPSET:
        return f"the model has opset {edit.opset}, below {LEAST_OPSET}"
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "its padding is chosen by auto_pad"
    kernel, pads = attribute(node, "kernel_shape", []), attribute(node, "pads", [])
    count, shape = len(kernel), edit.shape(node.input[0])
    sizes = [None] * count if shape is None else list(shape[2:])
    strides = attribute(node, "strides", [1] * count)
    dilations = attribute(node, "dilations", [1] * count)
    extents = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    axes = [Axis(*numbers) for numbers in zip(sizes, extents, strides, pads[:count], pads[count:], strict=True)]
    if any(axis.size is None and not axis.never_left_out for axis in axes):
        return "whether its last window counts depends on a size that is open"
    return axes


def _padded(edit: Edit, node: NodeProto, axes: list[Axis]) -> list[NodeProto]:
    """Padding of its own, then a pool that counts what is there."""
    before = [axis.before for axis in axes]
    behind = [axis.fitting if axis.left_out else axis.behind for axis in axes]
    amounts = edit.store("amounts", np.array([0, 0, *before, 0, 0, *behind], np.int64))
    padded = edit.fresh(node.input[0])
    pool = _with(node, pads=[0] * 2 * len(axes), count_include_pad=0)
    pool.input[0] = padded
    return [helper.make_node("Pad", [node.input[0], amounts], [padded], edit.fresh(node.name or padded)), pool]


def _floored(node: NodeProto, axes: list[Axis]) -> NodeProto:
    behind = [max(axis.fitting, 0) for axis in axes]
    return _with(node, ceil_mode=0, pads=[*(axis.before for axis in axes), *behind])


def _with(node: NodeProto, **attributes: int | list[int]) -> NodeProto:
    """A copy of the node with other attributes."""
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(entry for entry in node.attribute if entry.name not in attributes)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return copy
