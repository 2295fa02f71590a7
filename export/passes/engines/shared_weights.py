"""A stored weight that convolutions of different kinds read, written once a kind.

Given   a = Conv(x, w), b = ConvTranspose(z, w)
Result  a = Conv(x, w), b = ConvTranspose(z, w′), w′ equal to w

Exact: the copy holds the same numbers. OpenVINO 2026.4.1 rearranges w in place for the transposed convolution, and the
other one computes with the rearranged numbers. Readers of one kind (operator and groups) keep one copy between them.
The model grows by the copies.

Not when a caller may override the weight, or when it is no stored tensor.
"""

from __future__ import annotations

from collections import defaultdict

from onnx import ModelProto, NodeProto

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import Edit, attribute

NAME = "shared_weights"
Kind = tuple[str, int]


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Give readers of different kinds a copy each."""
    edit = Edit(model, NAME)
    for weight, kinds in _readers(edit).items():
        if len(kinds) < 2:
            continue
        value = edit.constant(weight)
        first, *others = kinds.values()
        if value is None:
            edit.refuse(first[0], f"its weight {weight} is shared and is not a stored constant")
            continue
        for nodes in others:
            copy = edit.store(weight, value)
            for node in nodes:
                edit.replace(node, [_reading(node, copy)])
    return edit.close()


def _readers(edit: Edit) -> dict[str, dict[Kind, list[NodeProto]]]:
    """Convolutions by the weight that they read, then by kind."""
    found: dict[str, dict[Kind, list[NodeProto]]] = defaultdict(lambda: defaultdict(list))
    for node in edit.nodes("Conv", "ConvTranspose"):
        if len(node.input) > 1:
            found[edit.source(node.input[1])][node.op_type, attribute(node, "group", 1)].append(node)
    return found


def _reading(node: NodeProto, weight: str) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[1] = weight
    return copy
