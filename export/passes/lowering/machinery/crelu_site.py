"""The sites of CReLU in a graph, and how a form takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import (
    convolution_before,
    dialect_nodes,
    is_standard,
    replace_reads,
    sole_consumer,
)
from rectexport.exporter.passes.lowering.machinery.convolution import Convolution, detach, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Shape
from rectexport.exporter.passes.lowering.machinery.readers import Readers, linear_readers


@dataclass(frozen=True)
class CReluSite:
    """A CRelu or NegConcat node; act, the ReLU or Leaky ReLU that reads a NegConcat; slope is a."""

    node: gs.Node
    act: gs.Node | None
    slope: float

    @property
    def linear(self) -> bool:
        """Whether concat(y, −y) has no activation right after it."""
        return self.node.op == "NegConcat" and self.act is None

    @property
    def result(self) -> gs.Tensor:
        """The tensor of both halves, activated."""
        return (self.act or self.node).outputs[0]

    def shape(self) -> Shape | None:
        """The shape of a convolution that reads the result, or else of the one that makes y."""
        made_by = convolution_before(self.node.inputs[0])
        for node in (*self.result.outputs, *([] if made_by is None else made_by[:1])):
            conv = read(node)
            if isinstance(conv, Convolution):
                return shape_of(conv, node.inputs[0])
        return None

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        made_by = convolution_before(self.node.inputs[0])
        before = [] if made_by is None else [entry for entry in made_by if entry is not None]
        middle = [self.node] if self.act is None else [self.node, self.act]
        readers = linear_readers(graph, self.result)
        if isinstance(readers, str):
            return [*before, *middle, *_elementwise(graph, self.result)]
        return [*before, *middle, *readers.between, *(reader.node for reader in readers.linear)]


def _elementwise(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """Scale, shift and ReLU right after a tensor: an engine fuses them into the convolution before."""
    reader = sole_consumer(graph, tensor)
    if reader is None or not is_standard(reader, "Mul", "Add", "Relu", "LeakyRelu"):
        return []
    return [reader, *_elementwise(graph, reader.outputs[0])]


def find(graph: gs.Graph) -> Iterator[CReluSite]:
    """Every CRelu on the channel axis, also where it is written as NegConcat, then ReLU or Leaky ReLU."""
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
    if act is None or not is_standard(act, "Relu", "LeakyRelu"):
        return None
    return 0.0 if act.op == "Relu" else float(act.attrs.get("alpha", 0.01))


def redirect(graph: gs.Graph, site: CReluSite, new: gs.Tensor, readers: Readers) -> None:
    """Let all readers of the result read `new`; tensors in between hold other values now, so they get new names."""
    replace_reads(site.result, new)
    for node in readers.between:
        node.outputs[0].name += ".halves"
    detach(graph, site.node, *([] if site.act is None else [site.act]))
