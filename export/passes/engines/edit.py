"""A copy of a model, edited node by node; whatever is not replaced stays as it was, subgraphs included.

The passes of this folder change the main graph alone. They work on the protocol buffer itself, so that what
graphsurgeon does not carry over (documentation, sparse initializers, sequences) is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from rectexport.exporter.graph.results import PassRecord, PassResult

Shape = tuple[int | None, ...]
#: From this opset on Slice, Squeeze, Unsqueeze and ReduceSum take their axes as the passes write them.
LEAST_OPSET = 13
_STANDARD = ("", "ai.onnx")


def standard(node: NodeProto, *operators: str) -> bool:
    """Whether this is one of these operators of the standard domain."""
    return node.op_type in operators and node.domain in _STANDARD


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, texts as str."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def node_name(node: NodeProto) -> str:
    """A name that tells a person which node this is."""
    return node.name or f"{node.op_type}→{node.output[0]}"


def opset_of(model: ModelProto) -> int:
    """Version of the standard operators."""
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1)


class Edit:
    """One pass at work on a copy of the model."""

    def __init__(self, model: ModelProto, name: str) -> None:
        self._given = model
        self._tally = PassRecord(name)
        self._name = name
        self.opset = opset_of(model)
        graph = model.graph
        self._names = _names_in(graph)
        self._stored = {entry.name: entry for entry in graph.initializer}
        self._overridable = {entry.name for entry in graph.input}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._types = {entry.name: entry.type.tensor_type for entry in (*graph.input, *graph.value_info, *graph.output)}
        self._new: dict[int, list[NodeProto]] = {}
        self._changed: list[NodeProto] = []
        self._added: list[onnx.TensorProto] = []

    def nodes(self, *operators: str) -> Iterator[NodeProto]:
        """Nodes of the main graph of these standard operators, in order."""
        return (node for node in self._given.graph.node if standard(node, *operators))

    def constant(self, name: str) -> NDArray[Any] | None:
        """A stored tensor's value, or None; an initializer that a caller may override is not constant."""
        entry = self._stored.get(name)
        if entry is not None:
            return None if name in self._overridable else numpy_helper.to_array(entry)
        maker = self._makers.get(name)
        if maker is None or not standard(maker, "Constant"):
            return None
        for kind, dtype in (("value", None), ("value_ints", np.int64), ("value_floats", np.float32)):
            value = attribute(maker, kind, None)
            if value is not None:
                return numpy_helper.to_array(value) if dtype is None else np.array(value, dtype)
        for kind, dtype in (("value_int", np.int64), ("value_float", np.float32)):
            value = attribute(maker, kind, None)
            if value is not None:
                return np.array(value, dtype)
        return None

    def maker(self, name: str) -> NodeProto | None:
        """The node of the main graph that makes a tensor."""
        return self._makers.get(name)

    def source(self, name: str) -> str:
        """The tensor that Identity nodes pass on under this name."""
        maker = self._makers.get(name)
        return self.source(maker.input[0]) if maker is not None and standard(maker, "Identity") else name

    def shape(self, name: str) -> Shape | None:
        """Sizes as far as the model notes them, None for an open one; None for a tensor whose rank is unknown."""
        if name in self._stored:
            return tuple(self._stored[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)

    def dtype(self, name: str) -> int:
        """The tensor's element type, TensorProto.UNDEFINED where the model does not note it."""
        if name in self._stored:
            return int(self._stored[name].data_type)
        kind = self._types.get(name)
        return int(kind.elem_type) if kind is not None else int(onnx.TensorProto.UNDEFINED)

    def fresh(self, base: str) -> str:
        """A name that nothing in the model has, subgraphs included."""
        name, count = f"{base}.{self._name}", 0
        while name in self._names:
            count += 1
            name = f"{base}.{self._name}.{count}"
        self._names.add(name)
        return name

    def store(self, base: str, array: NDArray[Any]) -> str:
        """A new initializer; returns its name."""
        name = self.fresh(base)
        self._added.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def replace(self, node: NodeProto, nodes: Sequence[NodeProto]) -> None:
        """Put these nodes in a node's place; the last of them makes the node's outputs."""
        self._new[id(node)] = list(nodes)
        self._changed.append(node)
        self._tally.fire(node_name(node))

    def refuse(self, node: NodeProto, reason: str) -> None:
        """Record a match that is left alone."""
        self._tally.refuse(node_name(node), reason)

    def close(self) -> tuple[ModelProto, PassResult]:
        """The edited copy and the result; the given model itself where nothing was replaced."""
        if not self._changed:
            return self._given, self._tally.result()
        model = ModelProto()
        model.CopyFrom(self._given)
        del model.graph.node[:]
        for node in self._given.graph.node:
            model.graph.node.extend(self._new.get(id(node), [node]))
        model.graph.initializer.extend(self._added)
        self._drop_unread(model.graph)
        return model, self._tally.result()

    def _drop_unread(self, graph: GraphProto) -> None:
        """Remove initializers that only the replaced nodes read."""
        candidates = {name for node in self._changed for name in node.input} - self._overridable
        unread = candidates - _read_in(graph) - {entry.name for entry in graph.output}
        kept = [entry for entry in graph.initializer if entry.name not in unread]
        if len(kept) < len(graph.initializer):
            del graph.initializer[:]
            graph.initializer.extend(kept)


def _graphs_in(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every subgraph below it."""
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in (*([entry.g] if entry.HasField("g") else []), *entry.graphs):
                yield from _graphs_in(inner)


def _names_in(graph: GraphProto) -> set[str]:
    names: set[str] = set()
    for inner in _graphs_in(graph):
        names |= {entry.name for entry in (*inner.initializer, *inner.input, *inner.output, *inner.value_info)}
        names |= {entry.values.name for entry in inner.sparse_initializer}
        for node in inner.node:
            names |= {node.name, *node.input, *node.output}
    return names


def _read_in(graph: GraphProto) -> set[str]:
    read: set[str] = set()
    for inner in _graphs_in(graph):
        read |= {name for node in inner.node for name in node.input}
        read |= {entry.name for entry in inner.output} if inner is not graph else set()
    return read
