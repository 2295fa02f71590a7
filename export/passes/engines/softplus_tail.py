"""A softplus whose logarithm, power, root or reciprocal is taken.

Given   y = Softplus(x) = log(1 + exp(x)), read by Log, Sqrt or Reciprocal, as the base of Pow, or as a divisor
Result  y = Max(x, 0) + l,  e = Exp(-|x|),  u = Clip(1 + e, 1, 2),
        l = Where(u = 1, e, e · Log(u) / (u - 1))

Exact: log(1 + exp(x)) = max(x, 0) + log(1 + e), and e · log(u) / (u - 1) is log(1 + e) within a few roundings although
u is rounded (Goldberg, "What every computer scientist should know about floating-point arithmetic", theorem 4).
OpenVINO 2026.4.1 computes log(1 + exp(x)) as it stands: for x below -16 that is 0, or a little below 0, so that a power
of it is NaN. The Clip changes no value: without it OpenVINO makes a softplus of Log(1 + Exp) again.

Not when nothing of the above reads y: then the error is below 1e-6 and stays there; or when the dtype is not noted.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit, node_name

NAME = "softplus_tail"
#: Operators that make a large error of a small one, with the position of the input in which they do.
SENSITIVE = (("Log", 0), ("Sqrt", 0), ("Reciprocal", 0), ("Pow", 0), ("Div", 1))


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every softplus whose small results count."""
    edit = Edit(model, NAME)
    places = ((node.input[place], node) for name, place in SENSITIVE for node in edit.nodes(name))
    readers = {edit.source(tensor): node for tensor, node in places}
    for node in list(edit.nodes("Softplus")):
        if node.output[0] not in readers:
            continue
        dtype = edit.dtype(node.input[0]) or edit.dtype(node.output[0])
        if not dtype:
            edit.refuse(node, "its dtype is not noted")
        elif edit.opset < LEAST_OPSET:
            edit.refuse(node, f"opset {edit.opset} is below {LEAST_OPSET}")
        else:
            edit.replace(node, _nodes(edit, node, np.dtype(helper.tensor_dtype_to_np_dtype(dtype))))
    return edit.close()


def _nodes(edit: Edit, node: NodeProto, dtype: np.dtype[np.generic]) -> list[NodeProto]:
    made: list[NodeProto] = []

    def add(operator: str, *inputs: str) -> str:
        made.append(helper.make_node(operator, list(inputs), [edit.fresh(node.output[0])], edit.fresh(node_name(node))))
        return str(made[-1].output[0])

    one, two, zero = (edit.store(name, np.array(value, dtype)) for name, value in (("one", 1), ("two", 2), ("zero", 0)))
    (x,) = node.input
    e = add("Exp", add("Neg", add("Abs", x)))
    u = add("Clip", add("Add", e, one), one, two)
    ratio = add("Div", add("Mul", e, add("Log", u)), add("Sub", u, one))
    tail = add("Where", add("Equal", u, one), e, ratio)
    made.append(helper.make_node("Add", [add("Max", x, zero), tail], list(node.output), node.name))
    return made
