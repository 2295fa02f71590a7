"""Pools with ceil_mode whose last windows OpenVINO treats otherwise than ONNX.

Window extent k, stride s, padding b before and e behind; which windows count is in export/engine_facts/window.py.

Given   y = AveragePool(x, ceil_mode 1, count_include_pad 1), some padding
Result  y = AveragePool(Pad(x, zeros), no padding, ceil_mode 1, count_include_pad 0)

A window's divisor is the number of its elements inside the padded tensor, in both: exact. OpenVINO 2026.4.1 divides
the last window of the first by more.

Given   y = MaxPool(x, ceil_mode 1) where the last window is left out along an axis
Result  y = MaxPool(x, ceil_mode 0) with e chosen so that the same windows are counted

Exact: padding counts as −∞. OpenVINO 2026.4.1 keeps the window, so that y is larger.

Given   y = LpPool(x, ceil_mode 1), no padding
Result  y = LpPool(x, ceil_mode 0) with e chosen so that the same windows are counted; e = s − 1 where n is open

Exact: padding adds nothing to a norm. OpenVINO 2026.4.1 scales the last window up as if it were full.

Where s + e ≤ k along an axis no window begins behind the input, whatever n is: such an axis may be open.

Not when an axis is open otherwise, or with auto_pad.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from rectexport.exporter.engine_facts.window import Axis, pool_axes
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit, attribute

NAME = "ceil_pool"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every pool with ceil_mode that needs it."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("AveragePool", "MaxPool", "LpPool")):
        if not _in_question(node):
            continue
        axes = _axes(edit, node)
        if isinstance(axes, str):
            edit.refuse(node, axes)
        elif node.op_type == "AveragePool":
            edit.replace(node, _padded(edit, node, axes))
        elif node.op_type == "LpPool" or any(axis.left_out for axis in axes):
            edit.replace(node, [_floored(node, axes)])
    return edit.close()


def _in_question(node: NodeProto) -> bool:
    """Whether OpenVINO may treat the last windows otherwise."""
    if not attribute(node, "ceil_mode", 0):
        return False
    padded = any(attribute(node, "pads", []))
    if node.op_type == "LpPool":
        return not padded
    return padded and (node.op_type == "MaxPool" or bool(attribute(node, "count_include_pad", 0)))


def _axes(edit: Edit, node: NodeProto) -> list[Axis] | str:
    """The spatial axes, or why the pool is left alone."""
    if edit.opset < LEAST_OPSET:
        return f"the model has opset {edit.opset}, below {LEAST_OPSET}"
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "its padding is chosen by auto_pad"
    shape = edit.shape(node.input[0])
    rest = (attribute(node, name, []) for name in ("kernel_shape", "strides", "pads", "dilations"))
    axes = pool_axes(None if shape is None else shape[2:], *rest)
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
    behind = [axis.stride - 1 if axis.size is None else max(axis.fitting, 0) for axis in axes]
    return _with(node, ceil_mode=0, pads=[*(axis.before for axis in axes), *behind])


def _with(node: NodeProto, **attributes: int | list[int]) -> NodeProto:
    """A copy of the node with other attributes."""
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(entry for entry in node.attribute if entry.name not in attributes)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return copy
