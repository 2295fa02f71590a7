"""Weights that stay in their files while a model is worked on, so that models beyond 2 GB need little memory.

The largest tensors that are stored outside the ONNX file are not read: each becomes an input of the same name, type and
shape. Passes see a tensor that is not constant, and leave its readers as they are. Afterwards the inputs become stored
tensors again, and their bytes are copied from file to file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, set_external_data, uses_external_data

from rectexport.runtime.base.files import replaced_file

#: Most bytes of weights outside the file that are read; of larger models the largest tensors stay where they are.
KEPT = 128 << 20
#: Bytes that are copied at a time.
_CHUNK = 16 << 20


@dataclass
class Outside:
    """Tensors of a model that were not read, by name, and the folder of their files."""

    folder: Path
    tensors: dict[str, TensorProto] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(_length(tensor) for tensor in self.tensors.values())

    def feeds(self) -> Mapping[str, Any]:
        """The tensors as arrays that are mapped, not read."""
        return {name: self._mapped(tensor) for name, tensor in self.tensors.items()}

    def _mapped(self, tensor: TensorProto) -> Any:
        info, dtype = ExternalDataInfo(tensor), np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        return np.memmap(self.folder / info.location, dtype, "r", info.offset or 0, tuple(tensor.dims))

    def put_back(self, models: Mapping[Path, ModelProto]) -> None:
        """Write models by their paths, all in one folder, with these tensors stored again.

        The tensors go to FIRST.data beside the first file. Every file appears whole or not at all.
        """
        first = next(iter(models))
        data = first.with_name(f"{first.name}.data")
        offsets = {}
        with replaced_file(data) as weights, weights.open("wb") as stream:
            for name, tensor in self.tensors.items():
                offsets[name] = stream.tell()
                self._copy(tensor, stream)
        for path, model in models.items():
            stored = without_inputs(model, self.tensors)
            for name, tensor in self.tensors.items():
                stored.graph.initializer.append(_referring(tensor, data.name, offsets[name]))
            with replaced_file(path) as graph:
                graph.write_bytes(stored.SerializeToString())

    def _copy(self, tensor: TensorProto, stream: BinaryIO) -> None:
        info = ExternalDataInfo(tensor)
        with (self.folder / info.location).open("rb") as source:
            source.seek(info.offset or 0)
            left = _length(tensor)
            while left and (part := source.read(min(left, _CHUNK))):
                stream.write(part)
                left -= len(part)


def without_inputs(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy of the model that lacks these inputs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for index in reversed(range(len(copy.graph.input))):
        if copy.graph.input[index].name in names:
            del copy.graph.input[index]
    return copy


def take_out(model: ModelProto, folder: Path, whole: int = KEPT) -> Outside:
    """Turn the largest tensors in files beside the model into inputs, until at most KEPT bytes are left to read.

    A model with at most `whole` bytes in such files stays whole. The places of the files must have been checked. The
    model is changed.
    """
    found = Outside(folder)
    stored = {value.name for value in model.graph.input}  # a default value of an input stays
    large = [t for t in model.graph.initializer if uses_external_data(t) and t.name not in stored and _mappable(t)]
    left = sum(_length(tensor) for tensor in model.graph.initializer if uses_external_data(tensor))
    if left <= whole:
        return found
    for tensor in sorted(large, key=_length, reverse=True):
        if left <= min(whole, KEPT):
            break
        left -= _length(tensor)
        found.tensors[tensor.name] = TensorProto()
        found.tensors[tensor.name].CopyFrom(tensor)
    for index in reversed(range(len(model.graph.initializer))):
        tensor = model.graph.initializer[index]
        if tensor.name in found.tensors:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            model.graph.input.append(value)
            del model.graph.initializer[index]
    return found


def _mappable(tensor: TensorProto) -> bool:
    """Whether NumPy has the type, element by element."""
    names = ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")
    return tensor.data_type in {TensorProto.DataType.Value(name) for name in names}


def _length(tensor: TensorProto) -> int:
    width = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    return math.prod(tensor.dims) * width


def _referring(tensor: TensorProto, location: str, offset: int) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.raw_data = b""  # what set_external_data asks for
    set_external_data(copy, location, offset, _length(tensor))
    copy.ClearField("raw_data")
    return copy
