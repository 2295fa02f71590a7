"""The sites of rectification in a graph, and what their forms read of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from rectexport.exporter.graph.surgeon import constant, dialect_nodes, is_standard, sole_consumer, static_size
from rectexport.exporter.passes.lowering.machinery.convolution import Values, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Shape
from rectexport.exporter.passes.rectification import factors


@dataclass(frozen=True)
class RectifySite:
    """A Rectify node. conv: the convolution before it, where nothing else reads its output; relu: the ReLU after it."""

    node: gs.Node
    conv: gs.Node | None
    relu: gs.Node | None

    def shape(self) -> Shape | None:
        conv = read(self.conv)
        return None if self.conv is None or isinstance(conv, str) else shape_of(conv, self.conv.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        return [entry for entry in (self.conv, self.node, self.relu) if entry is not None]

    def factors(self) -> Values | str:
        """r [1, 1, H, W] in float64, or the reason why it is no constant."""
        size, out = static_size(self.node.inputs[1]), static_size(self.node.inputs[0])
        if size is None or out is None:
            return "H, W dynamic"
        return factors(self.node, size, out)

    def bias(self) -> Values | None:
        """b [C], if it is a constant."""
        return constant(self.node.inputs[2])


def find(graph: gs.Graph) -> Iterator[RectifySite]:
    """Every Rectify node."""
    for node in dialect_nodes(graph, "Rectify"):
        y = node.inputs[0]
        conv = y.inputs[0] if y.inputs and sole_consumer(graph, y) is node else None
        relu = sole_consumer(graph, node.outputs[0])
        yield RectifySite(node, conv, relu if is_standard(relu, "Relu") else None)
