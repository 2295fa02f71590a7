"""Models with random numbers, compared: every random tensor is drawn once and becomes an input of both models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper

from rectexport.exporter.graph.dialect import RANDOM, STANDARD_DOMAINS
from rectexport.exporter.graph.inner import run_inner
from rectexport.exporter.graph.names import subgraphs
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import BadInput


class DrawnInside(BadInput):
    """A subgraph or a function draws random numbers, which no input of the model can replace."""


@dataclass(frozen=True)
class Frozen:
    """Values of the random tensors of a model, by name, for each feed."""

    values: Sequence[Mapping[str, Array]]

    @classmethod
    def of(cls, model: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> Frozen:
        """Draw them. Raises DrawnInside, or BadInput when the model does not run."""
        for node in (*_inner_nodes(model.graph.node), *(node for body in model.functions for node in body.node)):
            if _is_random(node):
                raise DrawnInside(f"{node.op_type} draws random numbers inside a subgraph or a function")
        names = [name for node in model.graph.node if _is_random(node) for name in node.output if name]
        return cls([run_inner(model, feed, names, optimize=False) if names else {} for feed in feeds])

    def without(self, model: ModelProto) -> ModelProto:
        """The model with inputs in place of its random nodes; itself when it has none.

        Raises BadInput when it draws other tensors than the model that was frozen.
        """
        drawn = [node for node in model.graph.node if _is_random(node)]
        known = self.values[0] if self.values else {}
        if not drawn:
            return model
        if any(name and name not in known for node in drawn for name in node.output):
            raise BadInput("the random tensors have other names than before")
        result = ModelProto()
        result.CopyFrom(model)
        del result.graph.node[:]
        for name in (name for node in drawn for name in node.output if name):
            kind = helper.np_dtype_to_tensor_dtype(known[name].dtype)
            result.graph.input.append(helper.make_tensor_value_info(drawn_name(name), kind, [None] * known[name].ndim))
            result.graph.node.append(helper.make_node("Identity", [drawn_name(name)], [name]))
        result.graph.node.extend(node for node in model.graph.node if not _is_random(node))
        return result

    def feeds(self, model: ModelProto, index: int, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs of a model that `without` has made: those of the feed, and the random tensors that it reads."""
        drawn = {drawn_name(name): value for name, value in self.values[index].items()}
        inputs = {value.name for value in model.graph.input}
        return {**feed, **{name: value for name, value in drawn.items() if name in inputs}}


def drawn_name(name: str) -> str:
    """Name of the input that stands for a random tensor."""
    return f"{name}.drawn beforehand"


def _is_random(node: NodeProto) -> bool:
    if node.domain not in STANDARD_DOMAINS:
        return False
    training = node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2])
    return node.op_type in RANDOM or training


def _inner_nodes(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        for inner in subgraphs(node):
            yield from inner.node
            yield from _inner_nodes(inner.node)
