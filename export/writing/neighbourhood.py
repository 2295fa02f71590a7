"""Find what a rewrite changed in a graph, as excerpts of it from before and after, small enough to draw.

A tensor that keeps its name keeps its value. So where the same tensor is made differently before and after a pass,
the excerpt is, on each side, the node that makes it and all earlier nodes back to tensors that both sides have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, ModelProto, NodeProto

from rectexport.exporter.graph.dialect import STANDARD_DOMAINS

#: Most nodes that an excerpt keeps, those nearest to the tensor first.
MAX_NODES = 14

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Excerpt:
    """Nodes of a graph, from the one that makes a tensor backwards; `more` counts those left out."""

    nodes: tuple[dict[str, Any], ...]
    more: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"nodes": list(self.nodes), "more": self.more}

    def pattern(self) -> Key:
        """Operators and how they are connected, without names or sizes; equal for excerpts that look alike."""
        maker = {name: index for index, node in enumerate(self.nodes) for name in node["outputs"]}
        nodes = [(node["op"], *(maker.get(name, -1) for name in node["inputs"])) for node in self.nodes]
        return (self.more, *nodes)


class Wiring:
    """Which node makes each tensor of a graph, and which tensors are constants, with their shapes."""

    def __init__(self, model: ModelProto) -> None:
        self._constants = {entry.name: tuple(entry.dims) for entry in model.graph.initializer}
        self._nodes = list(model.graph.node)
        self._makers: dict[str, int] = {}
        for place, node in enumerate(self._nodes):
            if node.op_type in ("Constant", "ConstantOfShape") and set(node.input) <= self._constants.keys():
                self._constants[node.output[0]] = _constant_shape(node.attribute)
            else:
                self._makers.update({name: place for name in node.output if name})
        given = {entry.name for entry in model.graph.input} - self._constants.keys()
        self.tensors = frozenset(self._makers) | given

    def made(self) -> list[str]:
        """The tensors that nodes make, in the order they run."""
        return list(self._makers)

    def key(self, tensor: str) -> Key | None:
        """How a tensor is made; equal keys mean the same node. None for an input of the graph."""
        place = self._makers.get(tensor)
        if place is None:
            return None
        node = self._nodes[place]
        inputs = (self._constants.get(name, name) for name in node.input)
        return (node.domain, node.op_type, *inputs, *node.output)

    def excerpt(self, tensor: str, known: frozenset[str]) -> Excerpt:
        """The node that makes `tensor` and all earlier nodes, back to the tensors in `known`."""
        found: list[int] = []
        pending = [tensor]
        while pending:
            place = self._makers.get(pending.pop(0))
            if place is not None and place not in found:
                found.append(place)
                pending += [name for name in self._nodes[place].input if name not in known]
        kept = found[:MAX_NODES]
        return Excerpt(tuple(self._node(self._nodes[place]) for place in kept), len(found) - len(kept))

    def _node(self, node: NodeProto) -> dict[str, Any]:
        constants = [list(self._constants[name]) for name in node.input if name in self._constants]
        return {
            "op": operator(node),
            "name": node.name,
            "inputs": [name for name in node.input if name and name not in self._constants],
            "outputs": [name for name in node.output if name],
            "constants": constants,
        }


def operator(node: NodeProto) -> str:
    """The operator's name, with its domain unless that is ONNX's own."""
    own = node.domain in STANDARD_DOMAINS
    return node.op_type if own else f"{node.domain}.{node.op_type}"


def operators(model: ModelProto) -> Counter[str]:
    """Nodes of the main graph by operator."""
    return Counter(operator(node) for node in model.graph.node)


def rewrites(before: ModelProto, after: ModelProto) -> Iterator[tuple[str, Excerpt, Excerpt]]:
    """Every rewrite: the tensor at its end, and the excerpts before and after. Changed constants do not count."""
    old, new = Wiring(before), Wiring(after)
    known = old.tensors & new.tensors
    for tensor in new.made():
        if tensor in known and old.key(tensor) is not None and old.key(tensor) != new.key(tensor):
            sides = old.excerpt(tensor, known - {tensor}), new.excerpt(tensor, known - {tensor})
            if sides[0].pattern() != sides[1].pattern():
                yield tensor, *sides


def _constant_shape(attributes: Any) -> tuple[int, ...]:
    attribute = next(iter(attributes), None)
    if attribute is None or attribute.type != AttributeProto.TENSOR:
        return ()
    return tuple(attribute.t.dims)
