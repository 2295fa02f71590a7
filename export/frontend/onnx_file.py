"""Read an untrusted ONNX file; no file outside its folder is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, checker, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from rectexport.exporter.frontend.outside import KEPT, Outside, take_out
from rectexport.exporter.graph.dialect_check import dialect_faults
from rectexport.runtime.base.reading import check_regular, read_bounded
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.archives import MAX_BYTES as MAX_SHARED
from rectexport.runtime.package.archives import MAX_GROWTH

#: protobuf's limit for one message.
MAX_BYTES = 2**31 - 1
#: Longest name of an input or output, in characters: names are written to manifests, archives and messages.
MAX_NAME = 1000
#: Bits of the types of which several elements share a byte; NumPy has a byte for each.
_PACKED = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_WITHOUT_TENSORS = (onnx.ValueInfoProto, onnx.StringStringEntryProto, onnx.OperatorSetIdProto)
#: Most nodes that a function may have once all its calls are inlined, as engines do.
MAX_INLINED = 1_000_000


def read_onnx(path: Path, check: bool = True, whole: int = KEPT) -> tuple[ModelProto, Outside]:
    """Read an ONNX file with its external data; without `check`, also one that ONNX's checker refuses.

    Of a model with more than `whole` bytes of external data, the largest tensors stay outside: see `outside`.

    Raises BadInput when the file is missing or not ONNX, when weights are stored outside its folder, or when
    functions call themselves, on which libraries recurse without end.
    """
    try:
        model = onnx.load_model_from_string(_content(path))
        tensors = list(_tensors(model))
    except BadInput:
        raise
    except Exception as error:  # protobuf's own, and RecursionError
        raise BadInput(f"{path}: not an ONNX file: {summary(error)}") from None
    nodes = list(all_nodes(model))
    long = next((value.name for value in (*model.graph.input, *model.graph.output) if len(value.name) > MAX_NAME), None)
    if long:
        raise BadInput(f"{path}: the input or output {long:.40}… has a name of {len(long)} characters, over {MAX_NAME}")
    for fault in (*_recursions(model), *_external_faults(path.parent, tensors), *dialect_faults(model, nodes)):
        raise BadInput(f"{path}: {fault}")
    try:
        outside = take_out(model, path.parent, whole)
        tensors = list(_tensors(model))
        _load_external(path.parent, tensors)
        if check:
            checker.check_model(model)
    except Exception as error:
        raise BadInput(f"{path}: not a valid ONNX model: {summary(error)}") from None
    for fault in _misshapen(tensors):
        raise BadInput(f"{path}: not a valid ONNX model: {fault}")
    return model, outside


def numeric_type(value: onnx.ValueInfoProto, path: Path | str = "model") -> str:
    """NumPy's name of an input's type. Raises BadInput when it is not a tensor of numbers."""
    number = value.type.tensor_type.elem_type
    known = number in TensorProto.DataType.values() and number not in (TensorProto.UNDEFINED, TensorProto.STRING)
    if not value.type.HasField("tensor_type") or not known:
        raise BadInput(f"{path}: input {value.name:.100} is not a tensor of numbers")
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)).name)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes of the graph and of the functions, and of every graph inside them."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)


def _content(path: Path) -> bytes:
    size = check_regular(path)
    if size > MAX_BYTES:
        raise BadInput(f"{path}: {size} bytes; an ONNX file has at most {MAX_BYTES}")
    return read_bounded(path, MAX_BYTES)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a model stores: in graphs, functions, attributes, sparse tensors, wherever ONNX has them."""
    pending: list[Message] = [model]
    while pending:
        message = pending.pop()
        if isinstance(message, TensorProto):
            yield message
        elif not isinstance(message, _WITHOUT_TENSORS):
            for field, value in message.ListFields():
                if field.message_type is not None:
                    pending.extend([value] if isinstance(value, Message) else value)


def _misshapen(tensors: list[TensorProto]) -> Iterator[str]:
    """Faults of stored tensors whose data does not fit their shape; ONNX's checker accepts data that is too long."""
    for tensor in tensors:
        if tensor.data_type == TensorProto.UNDEFINED:
            continue  # an attribute without a tensor
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # of several kinds
            yield f"tensor {tensor.name:.100}: {summary(error)}"


def _external_faults(folder: Path, tensors: list[TensorProto]) -> Iterator[str]:
    """Faults of the weights that are stored outside the file; their number of bytes is checked before any is read."""
    total, sizes = 0, dict[Path, int]()
    for tensor in filter(uses_external_data, tensors):
        try:
            info = ExternalDataInfo(tensor)
        except Exception as error:
            yield f"weights of {tensor.name} have no valid location: {summary(error)}"
            continue
        path = folder / info.location
        if fault := _place_fault(folder, info.location):
            yield f"weights of {tensor.name} are stored in {info.location!r:.200}, {fault}"
            continue
        if path not in sizes:
            sizes[path] = check_regular(path)
        offset = info.offset or 0
        length = sizes[path] - offset if info.length is None else info.length
        total += max(length, 0)
        if fault := _length_fault(tensor, offset, length, sizes[path]):
            yield f"weights of {tensor.name}: {length} bytes at offset {offset} of {info.location!r:.200}, {fault}"
    if total > (allowed := max(MAX_SHARED, MAX_GROWTH * sum(sizes.values()))):
        yield f"its weights take {total} bytes, more than the {allowed} that files of this size may hold"


def _load_external(folder: Path, tensors: list[TensorProto]) -> None:
    """Read the weights that are stored outside the file into the model; onnx's own loop leaves out some kinds."""
    for tensor in filter(uses_external_data, tensors):
        load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _place_fault(folder: Path, location: str) -> str | None:
    place, path = PurePosixPath(location), folder / location
    if place.is_absolute() or ".." in place.parts or "\\" in location or not place.parts:
        return "outside its folder"
    if any(part.is_symlink() for part in (path, *path.parents[: len(place.parts) - 1])):
        return "a symbolic link"
    return None if path.is_file() else "which is not a file"


def _length_fault(tensor: TensorProto, offset: int, length: int, size: int) -> str | None:
    """Why a tensor of this type and shape cannot have these bytes of a file of `size` bytes."""
    if not 0 <= offset <= offset + length <= size:
        return "which is too short"
    bits = _bits(tensor.data_type)
    needed = None if bits is None else (math.prod(tensor.dims) * bits + 7) // 8
    return None if needed in (None, length) else f"expected {needed} for its shape {list(tensor.dims)}"


def _bits(data_type: int) -> int | None:
    """Bits of an element as it is stored; None if they are not known."""
    name = TensorProto.DataType.Name(data_type) if data_type in TensorProto.DataType.values() else "FLOAT6"
    if name in _PACKED:
        return _PACKED[name]
    if name.startswith("FLOAT6"):
        return None
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8
    except (KeyError, TypeError, ValueError):
        return None


def _recursions(model: ModelProto) -> Iterator[str]:
    """Faults of functions: two of one name, one that calls itself, directly or not, or too many nodes once inlined."""
    bodies = {(entry.domain, entry.name): entry for entry in model.functions}
    if len(bodies) < len(model.functions):
        yield "two functions have the same name"
    calls = {key: _called(body) for key, body in bodies.items()}
    sizes: dict[tuple[str, str], int] = {}
    while len(sizes) < len(calls):
        ready = {key for key in calls.keys() - sizes.keys() if not calls[key].keys() & calls.keys() - sizes.keys()}
        if not ready:
            yield f"function {next(iter(calls.keys() - sizes.keys()))[1]!r:.100} calls itself"
            return
        sizes |= {key: sum(count * sizes.get(called, 1) for called, count in calls[key].items()) for key in ready}
    if max(sizes.values(), default=0) > MAX_INLINED:
        yield f"its functions have {max(sizes.values())} nodes once inlined, expected at most {MAX_INLINED}"


def _called(function: FunctionProto) -> Counter[tuple[str, str]]:
    holder = ModelProto()
    holder.functions.append(function)
    return Counter((node.domain, node.op_type) for node in all_nodes(holder))
