"""Read sizes from whole shapes: TensorRT 8.6 ignores start and end of Shape, and reports nothing.

Given   s = Shape<start, end>(x)
Result  s = Gather(Shape(x), [start, …, end − 1])

Exact by definition, with start and end counted from the end where negative and clamped to the rank. `x.shape[2]` in
PyTorch is written so: 8.6 reads the batch instead of the height.

Not when the rank is unknown, or nothing lies between start and end.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes.engines.edit import Edit, Shape, attribute

NAME = "whole_shape"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every Shape node that has start or end."""
    edit = Edit(model, NAME)
    inferred: dict[str, Shape] | None = None
    for node in list(edit.nodes("Shape")):
        start, end = attribute(node, "start", 0), attribute(node, "end", None)
        if start == 0 and end is None:
            continue
        x, shape = node.input[0], edit.shape(node.input[0])
        if shape is None:
            inferred = _inferred(model) if inferred is None else inferred
            shape = inferred.get(x)
        if shape is None:
            edit.refuse(node, f"the rank of {x} is unknown")
            continue
        axes = range(len(shape))[start:end]
        if not axes:
            edit.refuse(node, f"start {start} and end {end} leave nothing of {len(shape)} sizes")
            continue
        whole, indices = edit.fresh(node.output[0]), edit.store(node.output[0], np.array(axes, np.int64))
        nodes = [
            helper.make_node("Shape", [x], [whole], edit.fresh(node.name or whole)),
            helper.make_node("Gather", [whole, indices], list(node.output), node.name, axis=0),
        ]
        edit.replace(node, nodes)
    return edit.close()


def _inferred(model: ModelProto) -> dict[str, Shape]:
    """Shapes of inner tensors that the model itself does not note."""
    kinds = {entry.name: entry.type.tensor_type for entry in infer_shapes(model).graph.value_info}
    return {name: (None,) * len(kind.shape.dim) for name, kind in kinds.items() if kind.HasField("shape")}
