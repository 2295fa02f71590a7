"""Write a CReLU that is spelled out as one node.

Given   Concat(x, -x)                        Result  NegConcat(x)
Given   Concat(relu(x), relu(-x))            Result  CRelu(x)
Given   relu(NegConcat(x))                   Result  CRelu(x)
Given   Concat(act(x), act(-x))              Result  act(NegConcat(x)), act working element by element

-x is Neg(x), x * -1, x / -1 or 0 - x. PVANet's scale and shift come after NegConcat and stay there.

Not when
- the halves are swapped: Concat(-x, x) is another function of x;
- the two activations differ, or their options do;
- another node reads an activation or the negated tensor, or one of them is an output of the graph;
- the factor is not exactly -1.

Source: Understanding and Improving CNNs via Concatenated Rectified Linear Units (Shang et al.); PVANet.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_standard, producer, sole_consumer
from rectexport.exporter.passes.matching.negation import negated
from rectexport.exporter.passes.matching.rewrite import (
    FIRED,
    NOTHING,
    Scene,
    Visit,
    refused,
    rewrite,
    used_elsewhere,
)

NAME = "raise_crelu"
#: Activations that work element by element; those with further inputs have constants there.
ACTIVATIONS = (
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
)


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Raise every CReLU, whatever its inner activation."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node, "Concat") or len(node.inputs) != 2:
        return NOTHING
    first, second = node.inputs
    if negated(scene, second) is first:
        return used_elsewhere(scene, [(second, node)]) or _plain(scene, node, first)
    return _activated(scene, node)


def _plain(scene: Scene, concat: gs.Node, x: gs.Tensor) -> Visit:
    """Concat(x, -x), with the ReLU after it where nothing else reads it."""
    joined = concat.outputs[0]
    follower = sole_consumer(scene.graph, joined)
    if follower is not None and is_standard(follower, "Relu"):
        concat.outputs.clear()
        _insert(scene, "CRelu", x, follower.outputs[0], concat)
        follower.outputs.clear()
    else:
        concat.outputs.clear()
        _insert(scene, "NegConcat", x, joined, concat)
    return FIRED


def _activated(scene: Scene, concat: gs.Node) -> Visit:
    """Concat(act(x), act(-x))."""
    positive, negative = (producer(entry, *ACTIVATIONS) for entry in concat.inputs)
    if positive is None or negative is None:
        return NOTHING
    x = negated(scene, negative.inputs[0])
    if x is None or x is not positive.inputs[0]:
        return NOTHING
    if not _alike(scene, positive, negative):
        return refused(f"the halves have different activations: {positive.op} and {negative.op}, or their options")
    reads = ((concat.inputs[0], concat), (concat.inputs[1], concat), (negative.inputs[0], negative))
    refusal = used_elsewhere(scene, reads)
    if refusal is not None:
        return refusal
    joined = concat.outputs[0]
    concat.outputs.clear()
    if positive.op == "Relu":
        _insert(scene, "CRelu", x, joined, concat)
        return FIRED
    doubled = gs.Variable(f"{joined.name}.signs", joined.dtype, joined.shape)
    _insert(scene, "NegConcat", x, doubled, concat)
    inputs = [doubled, *positive.inputs[1:]]
    scene.graph.nodes.append(gs.Node(positive.op, f"{joined.name}.activation", positive.attrs, inputs, [joined]))
    return FIRED


def _alike(scene: Scene, one: gs.Node, other: gs.Node) -> bool:
    if one.op != other.op or one.attrs != other.attrs or len(one.inputs) != len(other.inputs):
        return False
    for mine, its in zip(one.inputs[1:], other.inputs[1:], strict=True):
        if not mine.name and not its.name:
            continue
        left, right = scene.values.of(mine), scene.values.of(its)
        if left is None or right is None or left.size != 1 or not np.array_equal(left, right):
            return False
    return True


def _insert(scene: Scene, operator: str, x: gs.Tensor, y: gs.Tensor, concat: gs.Node) -> None:
    attrs = {"axis": concat.attrs["axis"]}
    scene.graph.nodes.append(gs.Node(operator, concat.name, attrs, [x], [y], domain=DOMAIN))
