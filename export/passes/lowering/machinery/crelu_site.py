"""Where CReLU occurs in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.surgeon import dialect_nodes, sole_consumer
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Shape
from rectexport.exporter.passes.lowering.machinery.readers import linear_readers


@dataclass(frozen=True)
class CReluSite:
    """A CRelu or NegConcat node; act, the ReLU or Leaky ReLU that reads a NegConcat; slope is a."""

    node: gs.Node
    act: gs.Node | None
    slope: float

    @property
    def linear(self) -> bool:
        """Nothing is known about what follows concat(y, −y)."""
        return self.node.op == "NegConcat" and self.act is None

    @property
    def result(self) -> gs.Tensor:
        """The tensor of both halves, activated."""
        return (self.act or self.node).outputs[0]

    def shape(self) -> Shape | None:
        """That of a convolution which reads the result, or else of the one which makes y."""
        made_by = producer(self.node.inputs[0])
        for node in (*self.result.outputs, *([] if made_by is None else made_by[:1])):
            conv = read(node)
            if isinstance(conv, Convolution):
                return shape_of(conv, node.inputs[0])
        return None

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        made_by = producer(self.node.inputs[0])
        before = [] if made_by is None else [entry for entry in made_by if entry is not None]
        middle = [self.node] if self.act is None else [self.node, self.act]
        readers = linear_readers(graph, self.result)
        if isinstance(readers, str):
            return [*before, *middle, *_elementwise(graph, self.result)]
        return [*before, *middle, *readers.between, *(reader.node for reader in readers.linear)]


def _elementwise(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """Scale, shift and ReLU right after a tensor: an engine fuses them into a convolution before it."""
    reader = sole_consumer(graph, tensor)
    if reader is None or reader.op not in ("Mul", "Add", "Relu", "LeakyRelu"):
        return []
    return [reader, *_elementwise(graph, reader.outputs[0])]


def find(graph: gs.Graph) -> Iterator[CReluSite]:
    """Every CRelu on the channel axis, also where it is spelled NegConcat, then ReLU or Leaky ReLU."""
    return (site for site in _all_sites(graph) if not site.linear)


def find_unactivated(graph: gs.Graph) -> Iterator[CReluSite]:
    """Every NegConcat on the channel axis that something else follows."""
    return (site for site in _all_sites(graph) if site.linear)


def _all_sites(graph: gs.Graph) -> Iterator[CReluSite]:
    for node in dialect_nodes(graph, "CRelu"):
        if _on_channels(node):
            yield CReluSite(node, None, 0.0)
    for node in dialect_nodes(graph, "NegConcat"):
        if _on_channels(node):
            act = sole_consumer(graph, node.outputs[0])
            slope = _slope(act)
            yield CReluSite(node, None if slope is None else act, slope or 0.0)


def _on_channels(node: gs.Node) -> bool:
    axis, shape = int(node.attrs["axis"]), node.inputs[0].shape
    return axis == 1 or (axis < 0 and shape is not None and axis + len(shape) == 1)


def _slope(act: gs.Node | None) -> float | None:
    if act is None or act.op not in ("Relu", "LeakyRelu"):
        return None
    return 0.0 if act.op == "Relu" else float(act.attrs.get("alpha", 0.01))


def producer(y: gs.Tensor) -> tuple[gs.Node, gs.Node | None] | None:
    """The Conv that makes y, and the Rectify between them if there is one."""
    made_by = y.inputs[0] if y.inputs else None
    rectify = made_by if made_by is not None and (made_by.op, made_by.domain) == ("Rectify", DOMAIN) else None
    conv = rectify.inputs[0].inputs[0] if rectify is not None and rectify.inputs[0].inputs else made_by
    return None if conv is None or conv.op != "Conv" else (conv, rectify)
