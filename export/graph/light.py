"""A model without its large stored tensors: checks and runs that need their shapes alone do not copy them.

Given   a model with large initializers
Result  the same graph in which each of them is an input, or external data, and its values beside it
"""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from onnx import ModelProto, TensorProto, helper, numpy_helper

from rectexport.exporter.graph.carried import copy_header
from rectexport.runtime.base.runner import Array

#: Smaller tensors stay: they may be sizes, axes or bounds, which shape inference reads.
LEAST_ELEMENTS = 1 << 10
_KINDS = {
    *(
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.DOUBLE,
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.INT16,
    ),
    *(TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32),
}
#: The place of external data that nobody reads, since the values are given beside the model.
_BESIDE = "beside"


@dataclass(frozen=True)
class Light:
    """model has none of the large tensors; weights are their values by name."""

    model: ModelProto
    weights: dict[str, Array]


def with_inputs(model: ModelProto) -> Light:
    """Large initializers as inputs of the model, which a caller gives like any other."""
    weights = _values(model)
    light = _without(model, weights)
    known = {value.name for value in light.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in weights.items()
        if name not in known
    )
    return Light(light, weights)


def with_external(model: ModelProto) -> Light:
    """Large initializers as external data, which ONNX Runtime takes as arrays."""
    weights = _values(model)
    light = _without(model, weights)
    light.graph.initializer.extend(_reference(entry) for entry in model.graph.initializer if entry.name in weights)
    return Light(light, weights)


def outline(model: ModelProto) -> ModelProto:
    """Large initializers as tensors that have a type and a shape, and no values to read."""
    large = [entry for entry in model.graph.initializer if _is_large(entry)]
    light = _without(model, {entry.name for entry in large})
    light.graph.initializer.extend(map(_reference, large))
    return light


def stored_bytes(model: ModelProto) -> int:
    """Bytes of the stored tensors' values, by their shapes: to measure the message, protobuf would write it."""
    return sum(math.prod(entry.dims) * _item_bytes(entry.data_type) for entry in model.graph.initializer)


def is_larger(model: ModelProto, limit: int) -> bool:
    """Whether the message has more than `limit` bytes. It is measured only where its stored tensors come near that."""
    return 2 * stored_bytes(model) > limit and model.ByteSize() > limit


def _item_bytes(number: int) -> int:
    known = number in TensorProto.DataType.values() and number not in (TensorProto.UNDEFINED, TensorProto.STRING)
    return helper.tensor_dtype_to_np_dtype(number).itemsize if known else 1


def _without(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy of the model without these initializers."""
    light, graph = ModelProto(), model.graph
    copy_header(model, light)
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    for field, value in graph.ListFields():
        if field.name == "initializer":
            light.graph.initializer.extend(entry for entry in value if entry.name not in names)
        elif isinstance(value, str):
            setattr(light.graph, field.name, value)
        else:
            getattr(light.graph, field.name).extend(value)
    return light


def _is_large(entry: TensorProto) -> bool:
    """Whether it is a large tensor of NumPy's own types whose values are in the message itself."""
    inside = entry.data_location != TensorProto.EXTERNAL and entry.data_type in _KINDS
    return inside and math.prod(entry.dims) >= LEAST_ELEMENTS


def _values(model: ModelProto) -> dict[str, Array]:
    """The large tensors that can be read; others stay for whoever refuses them."""
    found = {}
    for entry in model.graph.initializer:
        if _is_large(entry):
            with suppress(ValueError):
                found[entry.name] = numpy_helper.to_array(entry)
    return found


def _reference(entry: TensorProto) -> TensorProto:
    reference = TensorProto(name=entry.name, data_type=entry.data_type, dims=entry.dims)
    reference.data_location = TensorProto.EXTERNAL
    reference.external_data.add(key="location", value=_BESIDE)
    return reference
