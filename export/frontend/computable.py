"""ONNX files in float64 or bfloat16 that ONNX Runtime has no kernels for: they become float32 models.

No engine of the CPU convolves in float64 or bfloat16, and TensorRT takes no float64. The values of bfloat16 weights are
float32 values; those of float64 are rounded. The file itself, computed in float64, stays the reference.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import ModelProto, TensorProto

from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.guard import coarsest_float
from rectexport.exporter.graph.widened import retyped
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput

_KINDS = (TensorProto.DOUBLE, TensorProto.BFLOAT16)


def computable(source: Source) -> Source:
    """The source, or one whose model is in float32 where ONNX Runtime does not run the file's own types."""
    if source.kind != "onnx" or source.stored or not _has_such(source.model):
        return source
    try:
        OnnxRuntimeRunner(source.model.SerializeToString(), optimize=False).close()
    except BadInput:
        name = "bfloat16" if coarsest_float(source.model) == "bfloat16" else "float64"
        remark = f"ONNX Runtime does not run this graph in {name}: it is computed in float32, with float32 inputs"
        model = retyped(source.model, _KINDS, TensorProto.FLOAT)
        dtypes = {name: _narrow(dtype) for name, dtype in source.input_dtypes.items()}
        examples = source.example_inputs
        if examples is not None:
            examples = tuple(one if one is None else one.astype(_narrow(one.dtype.name)) for one in examples)
        return replace(
            source,
            model=model,
            reference=source.model,
            remarks=[*source.remarks, remark],
            input_dtypes=dtypes,
            example_inputs=examples,
        )
    return source


def _narrow(dtype: str) -> str:
    return "float32" if dtype in ("float64", "bfloat16") else dtype


def _has_such(model: ModelProto) -> bool:
    values = (*model.graph.input, *model.graph.output)
    found = {value.type.tensor_type.elem_type for value in values} | {
        entry.data_type for entry in model.graph.initializer
    }
    return not found.isdisjoint(_KINDS)
