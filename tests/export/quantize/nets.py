"""A small rectified network by hand, as lowering leaves it, and random items for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from rectexport.exporter.quantize.calibration import Items
from rectexport.plugins.reference import rectification_map

CHANNELS, CLASSES = 6, 5


def rectified_net(size: int = 8, stride: int = 1, seed: int = 0) -> ModelProto:
    """x [N, 3, size, size] -> conv, r, shift, ReLU -> conv with bias, ReLU -> + skip -> mean -> Gemm -> logits."""
    rng = np.random.default_rng(seed)
    out = -(-size // stride)
    r = rectification_map(size, size, (3, 3), (stride, stride), (1, 1, 1, 1)).reshape(1, 1, out, out)
    arrays = {
        "first": rng.normal(0, 0.4, (CHANNELS, 3, 3, 3)),
        "r": r,
        "t": rng.normal(0, 0.3, (1, CHANNELS, 1, 1)),
        "second": rng.normal(0, 0.3, (CHANNELS, CHANNELS, 3, 3)),
        "second.bias": rng.normal(0, 0.3, CHANNELS),
        "head": rng.normal(0, 1, (CLASSES, CHANNELS)),
        "head.bias": rng.normal(0, 0.3, CLASSES),
    }
    pads: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a.conv"], name="a", strides=[stride, stride], **pads),
        helper.make_node("Mul", ["a.conv", "r"], ["a.scaled"], name="rectify_scale.a"),
        helper.make_node("Add", ["a.scaled", "t"], ["a.shifted"], name="rectify_shift.a"),
        helper.make_node("Relu", ["a.shifted"], ["a.out"], name="a.relu"),
        helper.make_node("Conv", ["a.out", "second", "second.bias"], ["b.conv"], name="b", **pads),
        helper.make_node("Relu", ["b.conv"], ["b.out"], name="b.relu"),
        helper.make_node("Add", ["b.out", "a.out"], ["sum"], name="add"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "head", "head.bias"], ["logits"], name="head", transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "net", [x], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return shape_inference.infer_shapes(model)


def items(count: int = 24, size: int = 8, seed: int = 1) -> Items:
    """Images in 0..1 with some structure."""
    rng = np.random.default_rng(seed)
    base = rng.random((count, 3, 1, 1)) + 0.5 * rng.normal(size=(count, 3, size, size))
    return Items({"x": base.astype(np.float32)}, None)
