"""Write the borders that are left in standard operators that every engine takes.

Given   y = BoundaryPad(x)
Result  y = Pad(x), one node for all axes of a mode                zeros, reflect, replicate
        y = Concat(strip, x, strip), one axis after the other      circular, symmetric, poles, pole_points

A strip is a Slice of x at its border: the opposite side (circular), or backwards (symmetric, poles), the rows of a pole
turned by half of their width as two more Slices. OpenVINO refuses Pad with mode wrap, TensorRT takes it from 10.0 on,
and ONNX has it from opset 19 on.

Exact: every element is copied.

Not when rows cross a pole and the width is open: half of it is no constant then, and the function body computes it.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import REFLECT, REPLICATE, ZEROS
from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, dialect_nodes, label, open_graph
from rectexport.exporter.passes.borders import POLAR, Border, Writer

NAME = "boundary_pad"
#: Borders whose mode of Pad every engine takes.
PADDED = (ZEROS, REFLECT, REPLICATE)


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Write every BoundaryPad node."""
    graph, record = open_graph(model), PassRecord(NAME)
    for node in dialect_nodes(graph, "BoundaryPad"):
        reason = cannot_write(node)
        if reason:
            record.refuse(label(node), reason, Code.NOT_EXACT)
            continue
        record.fire(label(node))
        write(graph, node, PADDED)
    return (close_graph(graph, model) if record.fired else model), record.result()


def cannot_write(node: gs.Node) -> str | None:
    """Why a BoundaryPad node must stay; None where it can be written."""
    border, shape = Border.of(node), node.inputs[0].shape
    if not any(border.modes[axis] in POLAR for axis in border.axes):
        return None
    return None if shape is not None and isinstance(shape[-1], int) else "rows cross a pole, and the width is open"


def write(graph: gs.Graph, node: gs.Node, padded: tuple[int, ...]) -> None:
    """Put standard operators in a BoundaryPad's place: Pad for the modes in `padded`, strips for the others."""
    border, x, y = Border.of(node), node.inputs[0], node.outputs[0]
    graph.nodes[:] = [entry for entry in graph.nodes if entry is not node]
    node.inputs.clear()
    node.outputs.clear()
    Writer(graph, x, y, border).write(padded)
