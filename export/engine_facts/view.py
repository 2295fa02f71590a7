"""A model as the conditions of facts see it: every node, with what is known about its tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rectexport.exporter.graph.shapes import inferred_outline

STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class Place:
    """A node and where it is: "" for the graph and its subgraphs, the function's name for a function's body."""

    node: NodeProto
    function: str = ""

    @property
    def name(self) -> str:
        """A name that tells a person which node this is."""
        node = self.node
        own = node.name or (f"{node.op_type}→{node.output[0]}" if node.output else node.op_type)
        return f"{self.function}/{own}" if self.function else own


class View:
    """Read access to a model: nodes of the graph, of subgraphs and of functions; dtypes, shapes, stored values."""

    def __init__(self, model: ModelProto) -> None:
        shaped = inferred_outline(model) or model
        self.model = model
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=1)
        self.functions = {(entry.domain, entry.name) for entry in model.functions}
        self.places = [Place(node) for node in _nodes(model.graph)]
        for function in model.functions:
            self.places += [Place(node, function.name) for node in function.node]
        self._stored: dict[str, TensorProto] = {}
        self._types: dict[str, Any] = {}
        for graph in _graphs(model.graph):
            self._stored |= {entry.name: entry for entry in graph.initializer}
        for graph in _graphs(shaped.graph):
            values = (*graph.input, *graph.value_info, *graph.output)
            self._types |= {entry.name: entry.type.tensor_type for entry in values}
        self._makers = {name: place.node for place in self.places for name in place.node.output}
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for place in self.places:
            for name in place.node.input:
                self._readers[name].append(place.node)

    def dtype(self, name: str) -> str:
        """NumPy's name of a tensor's dtype, "" where it is unknown."""
        stored = self._stored.get(name)
        kind = stored.data_type if stored is not None else getattr(self._types.get(name), "elem_type", 0)
        return helper.tensor_dtype_to_np_dtype(kind).name if kind else ""

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Sizes, None for an open one; None for a tensor of unknown rank."""
        if name in self._stored:
            return tuple(self._stored[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)

    def constant(self, name: str) -> NDArray[Any] | None:
        """A stored value, or None."""
        if name in self._stored:
            return numpy_helper.to_array(self._stored[name])
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "Constant":
            return None
        value = attributes(maker)
        if "value" in value:
            return numpy_helper.to_array(value["value"])
        numbers = next((value[key] for key in value if key.startswith("value_")), None)
        return None if numbers is None or isinstance(numbers, bytes) else np.asarray(numbers)

    def maker(self, name: str) -> NodeProto | None:
        """The node that makes a tensor."""
        return self._makers.get(name)

    def readers(self, name: str) -> list[NodeProto]:
        """Nodes that read a tensor."""
        return self._readers[name]


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name, texts as str; references of function bodies are left out."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute if not entry.ref_attr_name}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in (*([entry.g] if entry.HasField("g") else []), *entry.graphs):
                yield from _graphs(inner)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    return (node for inner in _graphs(graph) for node in inner.node)
