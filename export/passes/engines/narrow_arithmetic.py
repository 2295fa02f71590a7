"""Arithmetic of 8-bit integers that wraps around, as ONNX and PyTorch have it.

Given   y = Add, Sub or Mul(a, b), uint8 or int8
Result  y = Cast(wrap(Add, Sub or Mul(Cast(a), Cast(b)))), in int32, where
        wrap(v) = (v + 2¹⁶) mod 256 for uint8, ((v + 2¹⁶ + 128) mod 256) − 128 for int8

What reads y as a number of another type, by Cast or by arithmetic of this kind, reads the int32 value, so that chains
hold no 8-bit tensor inside.

Exact: sums, differences and products of 8-bit integers lie within ±2¹⁶, so that no remainder is one of a negative
number. OpenVINO 2026.4.1 saturates instead: 200 + 100 is 255 there, and 44 in ONNX. TensorRT takes uint8 only to
cast it.

Not when the dtype is not noted, or below opset 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import LEAST_OPSET, Edit

NAME = "narrow_arithmetic"
_OFFSETS: dict[int, int] = {TensorProto.UINT8: 0, TensorProto.INT8: 128}


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every sum, difference and product of 8-bit integers, and every Cast of one."""
    edit = Edit(model, NAME)
    wide: dict[str, str] = {}
    for node in list(edit.nodes("Add", "Sub", "Mul", "Cast")):
        if node.op_type == "Cast":
            if node.input[0] in wide:
                edit.replace(node, [_reading(node, wide[node.input[0]])])
            continue
        dtype = next((dtype for name in (*node.input, *node.output) if (dtype := edit.dtype(name))), 0)
        if dtype not in _OFFSETS:
            continue
        if edit.opset < LEAST_OPSET:
            edit.refuse(node, f"the model has opset {edit.opset}, below {LEAST_OPSET}")
            continue
        nodes = _widened(edit, node, dtype, wide)
        wide[node.output[0]] = nodes[-1].input[0]
        edit.replace(node, nodes)
    return edit.close()


def _widened(edit: Edit, node: NodeProto, dtype: int, wide: dict[str, str]) -> list[NodeProto]:
    """The nodes in a node's place; `wide` has int32 copies of 8-bit tensors, which are read instead."""
    nodes: list[NodeProto] = []

    def then(operator: str, *inputs: str, **attributes: Any) -> str:
        result = edit.fresh(node.output[0])
        nodes.append(helper.make_node(operator, list(inputs), [result], edit.fresh(result), **attributes))
        return result

    def number(base: str, value: int) -> str:
        return edit.store(base, np.array(value, np.int32))

    inputs = [wide.get(name) or then("Cast", name, to=TensorProto.INT32) for name in node.input]
    offset = _OFFSETS[dtype]
    shifted = then("Add", then(node.op_type, *inputs), number("offset", offset + (1 << 16)))
    result = then("Mod", shifted, number("range", 256))
    if offset:
        result = then("Sub", result, number("offset", offset))
    nodes.append(helper.make_node("Cast", [result], list(node.output), node.name, to=dtype))
    return nodes


def _reading(node: NodeProto, name: str) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[0] = name
    return copy
