"""Infer the shapes of inner tensors, across dialect nodes.

ONNX's own inference cannot follow every function body, so it gets a copy of the model in which each dialect node is
replaced by a standard one of equal output shape:

    Rectify(y, x, b), MaskedRectify(y, u, b) → Identity(y)        MaskedCount(mask) → Conv(mask, ones)
    SymmetricPad(x) → Pad(x) by the total of either side
    BoundaryPad(x) → Pad(x) by zeros
    CRelu(x), NegConcat(x) → Concat(x, x)
"""

from __future__ import annotations

import math

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.carried import has_default
from rectexport.exporter.graph.light import outline
from rectexport.exporter.graph.names import unused, used_names


def infer_shapes(model: ModelProto) -> ModelProto:
    """A copy of the model with every inner shape that can be inferred.

    The model itself where ONNX's inference fails.
    """
    inferred = inferred_outline(model)
    if inferred is None:
        return model
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:], result.graph.output[:]
    result.graph.value_info.extend(value for value in inferred.graph.value_info if not _untyped(value))
    noted = {value.name: value for value in model.graph.output}
    result.graph.output.extend(noted[value.name] if _untyped(value) else value for value in inferred.graph.output)
    return result


def inferred_outline(model: ModelProto) -> ModelProto | None:
    """The model without the values of its large tensors, with every shape that can be inferred.

    None where ONNX's inference fails: without shapes there are fewer forms to choose from, and nothing else changes.
    """
    twin = outline(model)
    forget_defaults(twin)
    for node in twin.graph.node:
        if node.domain == dialect.DOMAIN:
            _stand_in(twin, node)
    try:
        return shape_inference.infer_shapes(twin, data_prop=True)
    except Exception:
        return None


def _untyped(value: ValueInfoProto) -> bool:
    """Whether inference has lost the type, as it does behind sparse initializers: engines refuse such a note."""
    return value.type.HasField("tensor_type") and not value.type.tensor_type.elem_type


def forget_defaults(model: ModelProto) -> None:
    """Take the stored values of inputs out of a model, in place: a caller may give others."""
    defaults = has_default(model)
    kept = [entry for entry in model.graph.initializer if entry.name not in defaults]
    if defaults:
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _stand_in(model: ModelProto, node: NodeProto) -> None:
    values = dialect.attributes(node)
    first = node.input[0]
    if node.op_type in ("CRelu", "NegConcat"):
        new = helper.make_node("Concat", [first, first], node.output, axis=values["axis"])
    elif node.op_type in ("SymmetricPad", "BoundaryPad"):
        pads = values["pads"][:4] if node.op_type == "SymmetricPad" else values["pads"]
        amounts = [0, 0, *pads[: len(pads) // 2], 0, 0, *pads[len(pads) // 2 :]]
        name = unused(f"{node.output[0]}.pads", used_names(model.graph))
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(amounts)], amounts))
        new = helper.make_node("Pad", [first, name], node.output)
    elif node.op_type == "MaskedCount":
        name = unused(f"{node.output[0]}.ones", used_names(model.graph))
        shape = [1, 1, *values["kernel_shape"]]
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, shape, [1.0] * math.prod(shape)))
        new = helper.make_node("Conv", [first, name], node.output, **values)
    elif node.op_type in (*dialect.RECTIFIES.values(), "MaskedRectify"):
        new = helper.make_node("Identity", [first], node.output)
    else:
        return
    node.CopyFrom(new)
