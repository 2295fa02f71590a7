"""Inner tensors made into outputs: which, and in what slices under a memory bound."""

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
#: Bytes an element takes: the package's own and the reference's float64, for every tensor of a slice; and the
#: float64 temporaries of a comparison, for one tensor at a time.
_HELD, _COMPARED = 4 + 8, 5 * 8


@dataclass(frozen=True)
class Tensor:
    """An inner tensor that may be compared, with its number of elements at the shapes fed."""

    name: str
    elements: int


def comparable(model: ModelProto, feeds: Mapping[str, Array], known: Collection[str]) -> list[Tensor]:
    """Floating-point tensors of rank 2 and more, among the known names, that nodes of the main graph make, in order.

    A size that shape inference does not find is taken to be the largest one it does.
    """
    values = {value.name: value for value in _inferred(model, feeds).graph.value_info}
    outputs = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name in known and name not in outputs]
    wanted = [name for name in names if name not in values or _is_image_data(values[name])]
    sizes = {name: _elements(values.get(name)) for name in wanted}
    largest = max((size for size in sizes.values() if size is not None), default=1)
    return [Tensor(name, largest if size is None else size) for name, size in sizes.items()]


def slices(tensors: Sequence[Tensor], memory: int) -> Iterator[list[str]]:
    """Names in order, in groups that fit `memory` bytes; a tensor that alone does not is a group of its own."""
    group: list[Tensor] = []
    for tensor in tensors:
        if group and _bytes([*group, tensor]) > memory:
            yield [entry.name for entry in group]
            group = []
        group.append(tensor)
    if group:
        yield [entry.name for entry in group]


def oversized(tensors: Sequence[Tensor], memory: int) -> list[str]:
    """Tensors that do not fit the memory even alone."""
    return [entry.name for entry in tensors if _bytes([entry]) > memory]


def write_marked(package: Package, model: ModelProto, names: Sequence[str], folder: Path) -> Package:
    """The package with tensors added to its outputs, in an empty folder: any backend can open it.

    It holds the model alone: an engine plan of the package would not have the new outputs.
    """
    notes = {entry.key: entry.value for entry in model.metadata_props}
    package_writer.write_model(folder, with_outputs(model, names), notes)
    added = [{"name": name, "dtype": "float32", "shape": []} for name in names]
    document = {
        **package.manifest.data,
        "outputs": [*package.manifest.data["outputs"], *added],
        "files": {path.name: sha256(path) for path in folder.iterdir()},
    }
    (folder / FILE_NAME).write_text(json.dumps(document), encoding="utf-8")
    return Package.open(folder)


def _inferred(model: ModelProto, feeds: Mapping[str, Array]) -> ModelProto:
    """The model with every inner shape that follows from the feeds'; as it is where ONNX cannot tell."""
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
    except Exception:  # sizes only cut the work into slices
        return model


def _is_image_data(value: ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.elem_type in _FLOATS and (not kind.HasField("shape") or len(kind.shape.dim) >= 2)


def _elements(value: ValueInfoProto | None) -> int | None:
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return int(np.prod(sizes, dtype=np.int64)) if all(size > 0 for size in sizes) else None


def _bytes(tensors: Sequence[Tensor]) -> int:
    sizes = [entry.elements for entry in tensors]
    return _HELD * sum(sizes) + _COMPARED * max(sizes)
