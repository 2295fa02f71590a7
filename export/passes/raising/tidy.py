"""Take out what exporters put between the operators of a pattern.

Given   y = Identity(x)                          Result  x wherever y was read
Given   y = Cast(x) to the type that x has       Result  the same
Given   y = Conv(Pad(x)), zeros on H and W       Result  y = Conv(x) with larger pads

Not when
- the name of an output of the graph would be lost;
- the padding is not constant zeros, is negative, or touches batch or channels;
- the convolution pads by a rule of its own (auto_pad SAME_UPPER or SAME_LOWER).
Other readers of the padded tensor keep it.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.surgeon import is_output, is_standard, producer, replace_reads
from rectexport.exporter.passes.matching.padding import zero_pads
from rectexport.exporter.passes.matching.rewrite import FIRED, NOTHING, Scene, Visit, refused, rewrite

NAME = "raise_tidy"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Take identities out and put explicit padding into convolutions."""
    return rewrite(model, NAME, _visit)


def _visit(scene: Scene, node: gs.Node) -> Visit:
    if not is_standard(node):
        return NOTHING
    if node.op == "Identity" or (node.op == "Cast" and _keeps_type(node)):
        return _bypass(scene, node)
    if node.op == "Conv" and producer(node.inputs[0], "Pad") is not None:
        return _fold_pad(scene, node)
    return NOTHING


def _keeps_type(cast: gs.Node) -> bool:
    """Whether the type is known and stays; graphsurgeon numbers the types that NumPy lacks."""
    dtype = cast.inputs[0].dtype
    if dtype is None:
        return False
    number = dtype if isinstance(dtype, int) else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return number == int(cast.attrs["to"])


def _bypass(scene: Scene, node: gs.Node) -> Visit:
    x, y = node.inputs[0], node.outputs[0]
    if is_output(scene.graph, y):
        return NOTHING
    replace_reads(y, x)
    node.outputs.clear()
    node.inputs.clear()
    return FIRED


def _fold_pad(scene: Scene, conv: gs.Node) -> Visit:
    pad = conv.inputs[0].inputs[0]
    if conv.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return refused("the convolution pads by its own rule, auto_pad")
    pads = zero_pads(scene, pad)
    if pads is None:
        return refused(f"{pad.outputs[0].name} is not padded by constant zeros")
    if len(pads) != 8 or min(pads) < 0 or any(pads[axis] for axis in (0, 1, 4, 5)):
        return refused(f"{pad.outputs[0].name} is padded by {pads}: not on H and W alone, or negative")
    own = conv.attrs.get("pads", [0, 0, 0, 0]) if conv.attrs.get("auto_pad", "NOTSET") == "NOTSET" else [0] * 4
    conv.attrs.pop("auto_pad", None)
    conv.attrs["pads"] = [mine + its for mine, its in zip(own, (*pads[2:4], *pads[6:8]), strict=True)]
    conv.inputs[0] = pad.inputs[0]
    return FIRED
