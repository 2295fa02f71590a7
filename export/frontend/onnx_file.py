"""Read an untrusted ONNX file; no file outside its folder is read."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, checker, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from rectexport.exporter.graph.dialect_check import dialect_faults
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput

#: protobuf's limit for one message.
MAX_BYTES = 2**31 - 1
#: Longest name of an input or output, in characters: names are written to manifests, archives and messages.
MAX_NAME = 1000
#: Most nodes that a function may have once all its calls are inlined, as engines do.
MAX_INLINED = 1_000_000


def read_onnx(path: Path, check: bool = True) -> ModelProto:
    """Read an ONNX file with its external data; without `check`, also one that ONNX's checker refuses.

    Raises BadInput when the file is missing or not ONNX, when weights are stored outside its folder, or when
    functions call themselves, on which libraries recurse without end.
    """
    if not path.is_file():
        raise BadInput(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"{path}: {path.stat().st_size} bytes; an ONNX file has at most {MAX_BYTES}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        tensors = list(_tensors(model))
    except Exception as error:  # protobuf's own, and RecursionError
        raise BadInput(f"{path}: not an ONNX file: {summary(error)}") from None
    nodes = list(all_nodes(model))
    long = next((value.name for value in (*model.graph.input, *model.graph.output) if len(value.name) > MAX_NAME), None)
    if long:
        raise BadInput(f"{path}: the input or output {long:.40}… has a name of {len(long)} characters, over {MAX_NAME}")
    for fault in (*_recursions(model), *_outside(path.parent, tensors), *dialect_faults(model, nodes)):
        raise BadInput(f"{path}: {fault}")
    try:
        load_external_data_for_model(model, str(path.parent))
        if check:
            checker.check_model(model)
    except Exception as error:
        raise BadInput(f"{path}: not a valid ONNX model: {summary(error)}") from None
    for fault in _misshapen(tensors):
        raise BadInput(f"{path}: not a valid ONNX model: {fault}")
    return model


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


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a model stores, in graphs and attributes; an empty one per attribute without a tensor."""
    yield from model.graph.initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def _misshapen(tensors: list[TensorProto]) -> Iterator[str]:
    """Faults of stored tensors whose data does not fit their shape; ONNX's checker accepts data that is too long."""
    for tensor in tensors:
        if tensor.data_type == TensorProto.UNDEFINED:
            continue  # an attribute without a tensor
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # of several kinds
            yield f"tensor {tensor.name:.100}: {summary(error)}"


def _outside(folder: Path, tensors: list[TensorProto]) -> Iterator[str]:
    """Faults of the places outside the file where weights are stored."""
    for tensor in tensors:
        if not uses_external_data(tensor):
            continue
        try:
            info = ExternalDataInfo(tensor)
            offset, length = info.offset or 0, info.length or 0
        except Exception as error:
            yield f"weights of {tensor.name} have no valid location: {summary(error)}"
            continue
        place, path = PurePosixPath(info.location), folder / info.location
        if place.is_absolute() or ".." in place.parts or "\\" in info.location or not place.parts:
            yield f"weights of {tensor.name} are stored in {info.location!r:.200}, outside its folder"
        elif any(part.is_symlink() for part in (path, *path.parents[: len(place.parts) - 1])):
            yield f"weights of {tensor.name} are stored in {info.location!r:.200}, a symbolic link"
        elif not path.exists() or not stat.S_ISREG(path.stat().st_mode):
            yield f"weights of {tensor.name} are stored in {info.location!r:.200}, which is not a file"
        elif not 0 <= offset <= offset + length <= path.stat().st_size:
            span = f"{length} bytes at offset {offset} of {info.location!r:.200}"
            yield f"weights of {tensor.name}: {span}, which is too short"


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
