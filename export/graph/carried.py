"""Parts of a model that graphsurgeon would lose or change: kept beside the opened graph, put back when it is closed.

Graphsurgeon gets a view of the model. In it a node with subgraphs is an ordinary node that also reads the tensors that
its subgraphs read; an initializer that is also an input, and a sparse initializer, are tensors without a value; and
inputs, outputs and attributes have only types that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues

from rectexport.exporter.graph.names import read_from_outside, unused, used_inside

#: From this version of the format on, an input with a stored value is an input that has a default.
DEFAULTS_IR_VERSION = 4
_KINDS = ("FLOAT", "INT", "STRING", "TENSOR", "FLOATS", "INTS", "STRINGS")
_KNOWN_ATTRIBUTES = {AttributeProto.AttributeType.Value(name) for name in _KINDS}
#: Stored tensors of so many bytes are not copied more often than needed.
LARGE = 1 << 14
_OWN_FIELDS = ("graph", "opset_import", "functions", "ir_version")


def has_default(model: ModelProto) -> set[str]:
    """Names of the inputs that a caller may leave out, because the model stores a value for them."""
    if model.ir_version < DEFAULTS_IR_VERSION:
        return set()  # older files list every initializer as an input, and engines take them as constants
    return {value.name for value in model.graph.input} & {entry.name for entry in model.graph.initializer}


def copy_header(model: ModelProto, result: ModelProto) -> None:
    """Give `result` the fields of `model` besides graph, functions, opsets and format version."""
    for field, _ in result.ListFields():
        if field.name not in _OWN_FIELDS:
            result.ClearField(field.name)
    for field, value in model.ListFields():
        if field.name in _OWN_FIELDS:
            continue
        if isinstance(value, (str, bytes, int)):
            setattr(result, field.name, value)
        else:
            getattr(result, field.name).extend(value)


@dataclass(frozen=True)
class _Origin:
    """A node as it was read: its proto, the values of its attributes, and how many inputs were added for subgraphs."""

    node: gs.Node
    proto: NodeProto
    attrs: Mapping[str, Any]
    added: int


class Carried:
    """What was kept of one model."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._defaults = has_default(model)
        self._reads = [read_from_outside(node) for node in model.graph.node]
        self._inside = {name for node in model.graph.node for name in used_inside(node)}
        self._origins: dict[int, _Origin] = {}
        self._named: dict[int, tuple[gs.Tensor, str]] = {}

    def view(self) -> Any:
        """The model as graphsurgeon gets it; large tensors are not copied."""
        model, graph = self._model, self._model.graph
        return SimpleNamespace(
            opset_import=list(model.opset_import),
            functions=[],
            producer_name=model.producer_name,
            producer_version=model.producer_version,
            ir_version=model.ir_version,
            graph=SimpleNamespace(
                name=graph.name,
                doc_string=graph.doc_string,
                node=[_plain_node(node, reads) for node, reads in zip(graph.node, self._reads, strict=True)],
                initializer=[entry for entry in graph.initializer if entry.name not in self._defaults],
                sparse_initializer=[],
                input=[_plain_value(value) for value in graph.input],
                output=[_plain_value(value) for value in graph.output],
                value_info=[value for value in graph.value_info if value.type.HasField("tensor_type")],
            ),
        )

    def remember(self, graph: gs.Graph) -> None:
        """Note which nodes and tensors of the opened graph come from the model."""
        for node, proto, reads in zip(graph.nodes, self._model.graph.node, self._reads, strict=True):
            self._origins[id(node)] = _Origin(node, proto, _copied(node.attrs), len(reads))
        self._named = {id(tensor): (tensor, tensor.name) for tensor in _tensors(graph)}

    def captured(self, graph: gs.Graph) -> list[gs.Tensor]:
        """Tensors of the main graph, no outputs, that subgraphs read."""
        given_out = {id(tensor) for tensor in graph.outputs}
        reads = [tensor for node in graph.nodes for tensor in self._added(node)]
        return [tensor for key, tensor in {id(tensor): tensor for tensor in reads}.items() if key not in given_out]

    def rename_new(self, graph: gs.Graph) -> None:
        """Give tensors that were added or renamed other names where theirs are taken, also inside subgraphs."""
        tensors = list(_tensors(graph))
        hidden = {*self._defaults, *(entry.values.name for entry in self._model.graph.sparse_initializer)}
        taken = self._inside | hidden | {tensor.name for tensor in tensors if self._kept(tensor)}
        for tensor in tensors:
            if not self._kept(tensor):
                tensor.name = unused(tensor.name, taken)
                taken.add(tensor.name)

    def export(self, graph: gs.Graph) -> ModelProto:
        """The closed graph as a model with everything that was kept. Functions are those of the model."""
        changed = [self._changed(node) for node in graph.nodes]
        attrs = [node.attrs for node in graph.nodes]
        try:
            for node, values in zip(graph.nodes, changed, strict=True):
                node.attrs = values
            result = _exported(graph)
        finally:
            for node, values in zip(graph.nodes, attrs, strict=True):
                node.attrs = values
        for node, proto in zip(graph.nodes, result.graph.node, strict=True):
            self._restore_node(node, proto)
        self._restore_graph(result.graph)
        copy_header(self._model, result)
        result.functions.extend(self._model.functions)
        return result

    def _added(self, node: gs.Node) -> list[gs.Tensor]:
        """The inputs of a node that stand for the reads of its subgraphs."""
        origin = self._origins.get(id(node))
        return [] if origin is None or not origin.added else list(node.inputs)[-origin.added :]

    def _kept(self, tensor: gs.Tensor) -> bool:
        return id(tensor) in self._named and self._named[id(tensor)][1] == tensor.name

    def _changed(self, node: gs.Node) -> dict[str, Any]:
        """The attributes that a pass has set."""
        origin = self._origins.get(id(node))
        old = {} if origin is None else origin.attrs
        return {name: value for name, value in node.attrs.items() if name not in old or not _same(value, old[name])}

    def _restore_node(self, node: gs.Node, proto: NodeProto) -> None:
        origin = self._origins.get(id(node))
        if origin is None:
            return
        if origin.added:
            del proto.input[len(proto.input) - origin.added :]
        if origin.proto.overload:
            proto.overload = origin.proto.overload
        fresh = {entry.name: entry for entry in proto.attribute}
        whole = [
            fresh.pop(entry.name, entry)
            for entry in origin.proto.attribute
            if entry.name in node.attrs or entry.name not in origin.attrs
        ]
        attributes = [AttributeProto.FromString(entry.SerializeToString()) for entry in (*whole, *fresh.values())]
        del proto.attribute[:]
        proto.attribute.extend(attributes)

    def _restore_graph(self, result: GraphProto) -> None:
        graph = self._model.graph
        for old, new in ((graph.input, result.input), (graph.output, result.output)):
            noted = {value.name: value for value in old}
            for value in new:
                if value.name in noted:
                    _restore_value(noted[value.name], value)
        made = {name for node in result.node for name in node.output}
        others = [value for value in graph.value_info if not value.type.HasField("tensor_type")]
        result.value_info.extend(value for value in others if value.name in made)
        result.initializer.extend(entry for entry in graph.initializer if entry.name in self._defaults)
        result.sparse_initializer.extend(graph.sparse_initializer)
        left = made | {entry.name for entry in (*result.input, *result.initializer)}
        result.quantization_annotation.extend(
            entry for entry in graph.quantization_annotation if entry.tensor_name in left
        )
        result.metadata_props.extend(graph.metadata_props)


def _exported(graph: gs.Graph) -> ModelProto:
    """The graph as graphsurgeon writes it, which copies each stored tensor three times: large ones are put in later."""
    large = {name: (tensor, tensor._values) for name, tensor in graph.tensors().items() if _is_large(tensor)}
    try:
        for name, (tensor, _) in large.items():
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            tensor._values = LazyValues(TensorProto(name=name, data_type=kind, dims=[0]))
        result: ModelProto = gs.export_onnx(graph, do_type_check=False)
    finally:
        for tensor, values in large.values():
            tensor._values = values
    for entry in result.graph.initializer:
        if entry.name in large:
            tensor, values = large[entry.name]
            stored = values.tensor if isinstance(values, LazyValues) else OnnxExporter.export_tensor_proto(tensor)
            entry.CopyFrom(stored)
            entry.name = tensor.name
    return result


def _is_large(tensor: gs.Tensor) -> bool:
    """Whether a tensor is stored, of one of NumPy's own types, and of LARGE bytes or more."""
    if not isinstance(tensor, gs.Constant) or isinstance(tensor._values, SparseValues):
        return False
    known = not isinstance(tensor.dtype, int) and np.dtype(tensor.dtype).kind in "biuf"
    return known and tensor._values.nbytes >= LARGE


def _plain_node(node: NodeProto, reads: list[str]) -> NodeProto:
    """The node with attributes that graphsurgeon carries, reading what its subgraphs read."""
    known = [entry for entry in node.attribute if _is_known(entry)]
    if not reads and len(known) == len(node.attribute):
        return node
    plain = NodeProto(op_type=node.op_type, domain=node.domain, name=node.name, attribute=known)
    plain.input.extend([*node.input, *reads])
    plain.output.extend(node.output)
    return plain


def _is_known(attribute: AttributeProto) -> bool:
    if attribute.ref_attr_name or attribute.type not in _KNOWN_ATTRIBUTES:
        return False
    try:
        for text in (attribute.s, *attribute.strings):
            text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain_value(value: ValueInfoProto) -> ValueInfoProto:
    kind = value.type.tensor_type.elem_type
    known = value.type.HasField("tensor_type") and kind in TensorProto.DataType.values() and kind
    return value if known or value.type.HasField("tensor_type") else ValueInfoProto(name=value.name)


def _restore_value(old: ValueInfoProto, new: ValueInfoProto) -> None:
    if not old.type.HasField("tensor_type"):
        new.CopyFrom(old)
    if old.doc_string:
        new.doc_string = old.doc_string
    if old.type.denotation:
        new.type.denotation = old.type.denotation


def _tensors(graph: gs.Graph) -> Iterator[gs.Tensor]:
    """Every tensor of the main graph once, in a fixed order."""
    found = [*graph.inputs, *graph.outputs]
    found += [tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)]
    return (tensor for tensor in {id(tensor): tensor for tensor in found}.values() if tensor.name)


def _copied(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list) else value for name, value in attrs.items()}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (gs.Tensor, gs.Graph)) or isinstance(other, (gs.Tensor, gs.Graph)):
        return one is other
    return type(one) is type(other) and bool(one == other)
