"""Arithmetic of 8-bit integers that wraps around, as ONNX and PyTorch have it.

Given   y = Add, Sub or Mul(a, b), uint8 or int8
Result  y = Cast(wrap(Add, Sub or Mul(Cast(a), Cast(b)))), in int32, where
        wrap(v) = (v + 2¹⁶) mod 256 for uint8, ((v + 2¹⁶ + 128) mod 256) − 128 for int8

Exact: sums, differences and products of 8-bit integers lie within ±2¹⁶, so that no remainder is one of a negative
number. OpenVINO 2026.4.1 saturates instead: 200 + 100 is 255 there, and 44 in ONNX. TensorRT takes uint8 only to
cast it.

Must not fire where the dtype is not noted, or below opset 13.
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
    """Rewrite every sum, difference and product of 8-bit integers."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("Add", "Sub", "Mul")):
        dtype = next((dtype for name in (*node.input, *node.output) if (dtype := edit.dtype(name))), 0)
        if dtype not in _OFFSETS:
            continue
        if edit.opset < LEAST_OPSET:
            edit.refuse(node, f"the model has opset {edit.opset}, below {LEAST_OPSET}")
            continue
        edit.replace(node, _widened(edit, node, dtype))
    return edit.close()


def _widened(edit: Edit, node: NodeProto, dtype: int) -> list[NodeProto]:
    nodes: list[NodeProto] = []

    def then(operator: str, *inputs: str, **attributes: Any) -> str:
        result = edit.fresh(node.output[0])
        nodes.append(helper.make_node(operator, list(inputs), [result], edit.fresh(result), **attributes))
        return result

    def number(base: str, value: int) -> str:
        return edit.store(base, np.array(value, np.int32))

    wide = then(node.op_type, *(then("Cast", name, to=TensorProto.INT32) for name in node.input))
    offset = _OFFSETS[dtype]
    wide = then("Mod", then("Add", wide, number("offset", offset + (1 << 16))), number("range", 256))
    if offset:
        wide = then("Sub", wide, number("offset", offset))
    nodes.append(helper.make_node("Cast", [wide], list(node.output), node.name, to=dtype))
    return nodes
