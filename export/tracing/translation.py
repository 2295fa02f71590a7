"""Translate our custom torch ops into dialect nodes, and a few of torch's own better than torch's exporter does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema
from onnxscript import opset18
from onnxscript.values import Op, Opset

import rectexport.models.layers.ops  # noqa: F401  defines torch.ops.rectexport
from rectexport.exporter.graph.dialect import DOMAIN, RECTIFIES, SIGNATURES, VERSION

_TENSORS = ["tensor(float)", "tensor(float16)", "tensor(double)", "tensor(bfloat16)"]
_KINDS: dict[int, Any] = {
    onnx.AttributeProto.INTS: OpSchema.AttrType.INTS,
    onnx.AttributeProto.INT: OpSchema.AttrType.INT,
}


@cache
def _operator(name: str) -> Op:
    inputs, output, kinds = SIGNATURES[name]
    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[OpSchema.FormalParameter(entry, "T") for entry in inputs],
        outputs=[OpSchema.FormalParameter(output, "T")],
        type_constraints=[("T", _TENSORS, "")],
        attributes=[OpSchema.Attribute(key, _KINDS[kind], required=True) for key, kind in kinds.items()],
    )
    return Op(Opset(DOMAIN, VERSION), name, schema)


def _rectify(
    y: Any,
    x: Any,
    bias: Any,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    mode: str,
    empty: str,
) -> Any:
    return _operator(RECTIFIES[len(kernel_shape)])(
        y,
        x,
        bias,
        kernel_shape=list(kernel_shape),
        strides=list(strides),
        pads=list(pads),
        dilations=list(dilations),
        numerator=prod(kernel_shape) if mode == "sum" else 1,
        empty_bias=int(empty == "bias"),
    )


def _masked_count(
    mask: Any, kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> Any:
    window = {"kernel_shape": kernel_shape, "strides": strides, "pads": pads, "dilations": dilations}
    return _operator("MaskedCount")(mask, **{name: list(values) for name, values in window.items()})


def _masked_rectify(y: Any, u: Any, bias: Any, numerator: int) -> Any:
    return _operator("MaskedRectify")(y, u, bias, numerator=numerator, empty_bias=0)


def _symmetric_pad(x: Any, splits: Sequence[int], pads: Sequence[int]) -> Any:
    return _operator("SymmetricPad")(x, splits=list(splits), pads=list(pads))


def _boundary_pad(x: Any, modes: Sequence[int], pads: Sequence[int]) -> Any:
    return _operator("BoundaryPad")(x, modes=list(modes), pads=list(pads))


def _crelu(x: Any, axis: int) -> Any:
    return _operator("CRelu")(x, axis=axis)


def _neg_concat(x: Any, axis: int) -> Any:
    return _operator("NegConcat")(x, axis=axis)


def _amax(self: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    return _reduced(opset18.ReduceMax, self, dim, keepdim)


def _amin(self: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    return _reduced(opset18.ReduceMin, self, dim, keepdim)


def _reduced(reduce: Any, x: Any, dim: Sequence[int], keepdim: bool) -> Any:
    """Over the axes in dim, or all if it is empty, which torch's exporter refuses."""
    if not dim:
        return reduce(x, keepdims=int(keepdim))
    return reduce(x, opset18.Constant(value_ints=list(dim)), keepdims=int(keepdim))


def _log_sigmoid(self: Any) -> Any:
    """-softplus(-x); torch's exporter takes the logarithm of a sigmoid, which is -inf below -104."""
    return opset18.Neg(opset18.Softplus(opset18.Neg(self)))


def table() -> dict[Any, Callable[..., Any]]:
    """torch op -> the function that emits its nodes; for torch.onnx.export."""
    ops, aten = torch.ops.rectexport, torch.ops.aten
    return {
        aten.amax.default: _amax,
        aten.amin.default: _amin,
        aten.log_sigmoid.default: _log_sigmoid,
        ops.rectify.default: _rectify,
        ops.masked_count.default: _masked_count,
        ops.masked_rectify.default: _masked_rectify,
        ops.symmetric_pad.default: _symmetric_pad,
        ops.boundary_pad.default: _boundary_pad,
        ops.crelu.default: _crelu,
        ops.neg_concat.default: _neg_concat,
    }
