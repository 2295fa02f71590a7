"""Mark inner tensors as outputs: choose them, and split them into slices that fit a memory bound."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, shape_inference

from rectexport.exporter.graph.inner import with_outputs
from rectexport.exporter.writing import package_writer
from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.runner import Array
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import FILE_NAME

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UNDEFINED)
#: Bytes per element: the package's float32 and the reference's float64, for every tensor of a slice; and the float64
#: temporaries of a comparison, for one tensor at a time.
_HELD, _COMPARED = 4 + 8, 5 * 8


@dataclass(frozen=True)
class MarkedTensor:
    """An inner tensor that can be compared, with its number of elements for the feeds at hand."""

    name: str
    elements: int


def comparable(model: ModelProto, feeds: Mapping[str, Array], known: Collection[str]) -> list[MarkedTensor]:
    """Tensors made by nodes of the main graph that can be compared, in order: in `known`, float, rank 2 or more.

    A size that shape inference does not find is assumed to be the largest of those that it finds.
    """
    values = {value.name: value for value in _inferred(model, feeds).graph.value_info}
    outputs = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name in known and name not in outputs]
    wanted = [name for name in names if name not in values or _is_image_data(values[name])]
    sizes = {name: _elements(values.get(name)) for name in wanted}
    largest = max((size for size in sizes.values() if size is not None), default=1)
    return [MarkedTensor(name, largest if size is None else size) for name, size in sizes.items()]


def slices(tensors: Sequence[MarkedTensor], memory: int) -> Iterator[list[str]]:
    """Names in order, in groups that fit `memory` bytes; a tensor that does not fit alone is its own group."""
    group: list[MarkedTensor] = []
    for tensor in tensors:
        if group and _bytes([*group, tensor]) > memory:
            yield [entry.name for entry in group]
            group = []
        group.append(tensor)
    if group:
        yield [entry.name for entry in group]


def oversized(tensors: Sequence[MarkedTensor], memory: int) -> list[str]:
    """Names of tensors that do not fit `memory` bytes even alone."""
    return [entry.name for entry in tensors if _bytes([entry]) > memory]


def write_marked(package: Package, model: ModelProto, names: Sequence[str], folder: Path) -> Package:
    """Write the package with tensors added to its outputs into an empty folder; any backend can open it.

    Only the model is written: an engine plan of the package would not have the new outputs.
    """
    notes = {entry.key: entry.value for entry in model.metadata_props}
    package_writer.write_model(folder, with_outputs(model, names), notes)
    added = [{"name": name, "dtype": "float32", "shape": []} for name in names]
    document = {
        **{key: value for key, value in package.manifest.data.items() if key != "models"},
        "outputs": [*package.manifest.data["outputs"], *added],
        "files": {path.name: sha256(path) for path in folder.iterdir()},
    }
    (folder / FILE_NAME).write_text(json.dumps(document), encoding="utf-8")
    return Package.open(folder)


def _inferred(model: ModelProto, feeds: Mapping[str, Array]) -> ModelProto:
    """The model with the inner shapes that follow from the feeds; unchanged if ONNX cannot infer any."""
    sized = ModelProto()
    sized.CopyFrom(model)
    del sized.graph.value_info[:]
    for value in sized.graph.input:
        if value.name in feeds:
            kind = value.type.tensor_type
            shape = helper.make_tensor_type_proto(kind.elem_type, feeds[value.name].shape)
            value.type.CopyFrom(shape)
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(sized, data_prop=True)
    except Exception:  # sizes are needed only to split the work into slices
        return model


def _is_image_data(value: ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.elem_type in _FLOATS and (not kind.HasField("shape") or len(kind.shape.dim) >= 2)


def _elements(value: ValueInfoProto | None) -> int | None:
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return int(np.prod(sizes, dtype=np.int64)) if all(size > 0 for size in sizes) else None


def _bytes(tensors: Sequence[MarkedTensor]) -> int:
    sizes = [entry.elements for entry in tensors]
    return _HELD * sum(sizes) + _COMPARED * max(sizes)
