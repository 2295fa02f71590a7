"""Write several models of one package: weights that they share are stored once, in one file beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onnx import ModelProto, TensorProto, external_data_helper, numpy_helper

from rectexport.exporter.frontend.outside import Outside
from rectexport.exporter.writing import package_writer
from rectexport.runtime.package.folder import WEIGHTS

#: Smaller tensors stay in the model's own file: a reference to another file takes about a hundred bytes.
SMALLEST = 1024
#: Tensors begin at a multiple of this many bytes, as vector instructions like it.
ALIGNMENT = 64

_Place = tuple[int, int]


def write_models(
    folder: Path, models: Mapping[str, ModelProto], notes: Mapping[str, str], outside: Outside | None = None
) -> None:
    """Write each model under its file name. `outside` has weights that were not read; they are copied.

    One model is written as `package_writer.write_model` does. The tensors of several go to model.onnx.data, where equal
    bytes stand once: two models of the same weights take little more room than one.
    """
    if outside is not None and outside.tensors:
        for model in models.values():
            package_writer.note(model, notes)
        outside.put_back({folder / name: model for name, model in models.items()})
        return
    if len(models) == 1:
        (model,) = models.values()
        package_writer.write_model(folder, model, notes)
        return
    places: dict[bytes, _Place] = {}
    with (folder / WEIGHTS).open("wb") as stream:
        for name, model in models.items():
            package_writer.note(model, notes)
            with _stored_elsewhere(model, stream, places):
                (folder / name).write_bytes(model.SerializeToString())


@contextmanager
def _stored_elsewhere(model: ModelProto, stream: BinaryIO, places: dict[bytes, _Place]) -> Iterator[None]:
    """Within the block, large tensors of the model are references to what is in `stream`; then they are whole again."""
    taken: list[tuple[TensorProto, bytes]] = []
    try:
        for tensor in model.graph.initializer:
            data = _bytes_of(tensor)
            if len(data) < SMALLEST:
                continue
            key = hashlib.sha256(data).digest()
            if key not in places:
                places[key] = (_append(stream, data), len(data))
            offset, length = places[key]
            external_data_helper.set_external_data(tensor, WEIGHTS, offset, length)
            tensor.ClearField("raw_data")
            taken.append((tensor, data))
        yield
    finally:
        for tensor, data in taken:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = data


def _append(stream: BinaryIO, data: bytes) -> int:
    """Write at the next aligned place. Returns where."""
    stream.write(bytes(-stream.tell() % ALIGNMENT))
    offset = stream.tell()
    stream.write(data)
    return offset


def _bytes_of(tensor: TensorProto) -> bytes:
    """The tensor's values as raw bytes, which it holds afterwards in any case; none for strings and 4-bit types."""
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    if tensor.data_type == TensorProto.STRING:
        return b""
    plain = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
    if plain.data_type != tensor.data_type or not plain.HasField("raw_data"):
        return b""
    doc = tensor.doc_string
    tensor.CopyFrom(plain)
    tensor.doc_string = doc
    return tensor.raw_data
