"""Converts gRPC messages to plain values and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import ServedTensor

#: Datatype -> the field of InferTensorContents that holds its values; FP16 has none.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def parse(kind: Any, data: bytes) -> Any:
    """A message from its bytes. Raises RequestError 400; grpc's own parser would report a server error."""
    try:
        return kind.FromString(data)
    except require("google.protobuf.message").DecodeError:
        raise RequestError(400, f"not a {kind.DESCRIPTOR.name}") from None


def plain(parameters: Any) -> dict[str, Any] | None:
    """A protobuf map of parameters as plain values; None when it is empty, as in most requests."""
    if not parameters:
        return None
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, which) if which else None for name, (value, which) in chosen.items()}


def from_contents(contents: Any, tensor: ServedTensor, shape: tuple[int, ...]) -> Array:
    """A tensor of `shape` from typed values. Raises RequestError 400 for a wrong count or a value out of range."""
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise RequestError(400, f"input {tensor.name}: {tensor.datatype} can only be sent as raw_input_contents")
    values = np.array(getattr(contents, field))
    if values.size != int(np.prod(shape, dtype=object)):
        raise RequestError(400, f"input {tensor.name}: {values.size} values in {field} for shape {list(shape)}")
    if tensor.dtype.kind in "iu":
        limits = np.iinfo(tensor.dtype)
        if values.size and not (limits.min <= values.min() and values.max() <= limits.max):
            raise RequestError(400, f"input {tensor.name}: a value does not fit {tensor.datatype}")
    array: Array = values.astype(tensor.dtype).reshape(shape)
    return array
