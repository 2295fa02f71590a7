"""Recognise -x in the forms that exporters write."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import producer
from rectexport.exporter.passes.matching.rewrite import Scene


def negated(scene: Scene, tensor: gs.Tensor) -> gs.Tensor | None:
    """x when the tensor is Neg(x), x * -1, -1 * x, x / -1 or 0 - x with a scalar constant; else None."""
    node = producer(tensor, "Neg", "Mul", "Div", "Sub")
    if node is None:
        return None
    if node.op == "Neg":
        return node.inputs[0]
    first, second = node.inputs
    if node.op in ("Mul", "Div") and _is_scalar(scene, second, -1, first):
        return first
    if node.op == "Mul" and _is_scalar(scene, first, -1, second):
        return second
    if node.op == "Sub" and _is_scalar(scene, first, 0, second):
        return second
    return None


def _is_scalar(scene: Scene, tensor: gs.Tensor, wanted: int, beside: gs.Tensor) -> bool:
    """Whether the tensor is that one number, in any shape that does not change the shape of `beside`."""
    value = scene.values.of(tensor)
    if value is None or value.size != 1 or value.reshape(-1)[0] != wanted:
        return False
    return value.ndim <= 1 or (beside.shape is not None and value.ndim <= len(beside.shape))
