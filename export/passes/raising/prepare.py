"""Prepare a model for dialect nodes: a recent enough opset, and known shapes."""

from __future__ import annotations

from onnx import ModelProto, shape_inference, version_converter

from rectexport.exporter.graph.dialect import default_opset
from rectexport.runtime.base.engine_errors import first_line

#: The dialect's bodies use Shape with start and end, which came with this opset.
MIN_OPSET = 15
#: What an older model is converted to: the oldest opset that we export ourselves.
CONVERTED_OPSET = 18
#: Model-local functions came with this version of the file format.
FUNCTIONS_IR_VERSION = 8


def prepare(model: ModelProto) -> ModelProto | str:
    """The model at an opset that holds the dialect, with shapes inferred; or the reason why not. `model` is kept."""
    opset = default_opset(model)
    if opset >= MIN_OPSET and model.ir_version >= FUNCTIONS_IR_VERSION and _shapes_known(model):
        return model
    ready = ModelProto()
    ready.CopyFrom(model)
    if opset < MIN_OPSET:
        try:
            ready = version_converter.convert_version(ready, CONVERTED_OPSET)
        except Exception as error:  # the converter raises whatever its C++ adapters raise
            return f"opset {opset} could not be converted to {CONVERTED_OPSET}: {first_line(error)}"
    ready.ir_version = max(ready.ir_version, FUNCTIONS_IR_VERSION)
    return _inferred(ready)


def _shapes_known(model: ModelProto) -> bool:
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    return all(name in known for node in model.graph.node for name in node.output if name)


def _inferred(model: ModelProto) -> ModelProto:
    try:
        inferred: ModelProto = shape_inference.infer_shapes(model, data_prop=True)
        return inferred
    except (ValueError, shape_inference.InferenceError):
        return model  # larger than protobuf's limit, or inconsistent: the passes work without the shapes
