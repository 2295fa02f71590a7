"""How much one node computes, independent of the sizes of the image and the batch.

Given    a node and the shapes of its constants
Result   floating-point operations for each element of its output (or of its input), and the bytes of its constants
Not when the operator is not in the table: then it counts as moving data only, 0 operations

A multiplication and an addition are two operations, as in the usual counts of GFLOP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, TensorProto, helper

OUTPUT, INPUT = "output", "input"
_ELEMENTWISE = frozenset(
    {
        *(
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Neg",
            "Abs",
            "Sqrt",
            "Reciprocal",
            "Exp",
            "Log",
            "Pow",
            "Min",
            "Max",
            "Sum",
            "Mean",
        ),
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Elu"),
        *("Selu", "Softplus", "Softmax", "Mish", "Floor", "Ceil", "Round", "Sign", "Where", "Equal", "Less", "Greater"),
        *("Mean", "QuantizeLinear", "DequantizeLinear"),
    }
)
_REDUCTIONS = frozenset(
    {
        *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
        *("GlobalAveragePool", "GlobalMaxPool"),
    }
)


@dataclass(frozen=True)
class Work:
    """operations: for each element of the tensor that `per` names; weights: bytes of the constants that it reads."""

    operations: int = 0
    per: str = OUTPUT
    weights: int = 0


def work_of(node: NodeProto, constants: Mapping[str, TensorProto]) -> Work:
    """The work of a node. constants: the graph's stored tensors by name."""
    stored = {index: constants[name] for index, name in enumerate(node.input) if name in constants}
    operations, per = _operations(node, {index: tuple(entry.dims) for index, entry in stored.items()})
    return Work(operations, per, sum(_bytes(entry) for entry in stored.values()))


def _operations(node: NodeProto, shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type in _ELEMENTWISE:
        return 1, OUTPUT
    if node.op_type in _REDUCTIONS:
        return 1, INPUT
    counted = _COUNTED.get(node.op_type)
    return counted(attributes, shapes) if counted else (0, OUTPUT)


def _convolution(attributes: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    return 2 * math.prod(shapes.get(1, ())[1:]), OUTPUT  # channels of a group times taps


def _transposed(attributes: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    return 2 * math.prod(shapes.get(1, ())[1:]), INPUT


def _matrix(attributes: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    """The length of the sums: an axis of whichever side is constant."""
    if 1 in shapes and len(shapes[1]) > 1:
        return 2 * shapes[1][-1 if attributes.get("transB") else -2], OUTPUT
    if shapes.get(0):
        return 2 * shapes[0][-2 if attributes.get("transA") else -1], OUTPUT
    return 0, OUTPUT


def _pool(attributes: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    return math.prod(attributes.get("kernel_shape", ())), OUTPUT


def _normalization(attributes: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, str]:
    return 2, OUTPUT


_COUNTED: dict[str, Callable[[Mapping[str, Any], Mapping[int, tuple[int, ...]]], tuple[int, str]]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _matrix,
    "MatMul": _matrix,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "BatchNormalization": _normalization,
    "InstanceNormalization": _normalization,
    "LayerNormalization": _normalization,
}


def _bytes(tensor: TensorProto) -> int:
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
