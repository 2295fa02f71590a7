"""Write AVR, the sum of both rectified halves, as the absolute value that it is.

Given   relu(x) + relu(-x)          Result  Abs(x)

The sum may stand in either order; -x as in the CReLU pass.

Not when
- another node reads either half or the negated tensor, or one of them is an output of the graph;
- the halves are subtracted: relu(x) - relu(-x) is x.

Source: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.).
"""

from __future__ import annotations

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_standard, producer
from rectexport.exporter.passes.matching.negation import negated
from rectexport.exporter.passes.matching.rewrite import (
    FIRED,
    NOTHING,
    Scene,
    Visit,
    rewrite,
    used_elsewhere,
)

NAME = "raise_avr"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every sum of rectified halves."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, "Add"):
        return NOTHING
    one, other = (producer(entry, "Relu") for entry in node.inputs)
    if one is None or other is None:
        return NOTHING
    for positive, negative in ((one, other), (other, one)):
        if negated(scene, negative.inputs[0]) is positive.inputs[0]:
            return _absolute(scene, node, positive, negative)
    return NOTHING


def _absolute(scene: Scene, add: gs.Node, positive: gs.Node, negative: gs.Node) -> Visit:
    readers = ((positive.outputs[0], add), (negative.outputs[0], add), (negative.inputs[0], negative))
    refusal = used_elsewhere(scene, readers)
    if refusal is not None:
        return refusal
    y = add.outputs[0]
    add.outputs.clear()
    scene.graph.nodes.append(gs.Node("Abs", add.name, inputs=[positive.inputs[0]], outputs=[y]))
    return FIRED
