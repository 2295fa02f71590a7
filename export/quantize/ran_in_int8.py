"""Which layers an engine computes in float although they were to run in int8."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.engines.openvino_runner import SETTINGS

#: Operators of ONNX Runtime's optimized graph that compute a layer in float.
_FLOAT = {"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
_LAYERS = {"Convolution", "FullyConnected", "MatMul"}


def float_layers(engine: str, model: Path, names: Collection[str]) -> list[str]:
    """The names among `names` of the model's nodes that "onnxruntime" or "openvino" computes in float."""
    found = _onnxruntime(model) if engine == "onnxruntime" else _openvino(model)
    return [name for name in names if name in found]


def layer_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions and matrix products that read an integer weight."""
    stored = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in stored and node.input[0] in stored
    ]


def _onnxruntime(model: Path) -> set[str]:
    """Float layers of the graph that ONNX Runtime runs, read from the file that it writes of it."""
    ort = require("onnxruntime")
    with scratch_folder() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(folder / "optimized.onnx", load_external_data=False)
    return {node.name for node in optimized.graph.node if node.op_type in _FLOAT}


def _openvino(model: Path) -> set[str]:
    openvino = require("openvino")
    compiled = openvino.Core().compile_model(str(model), "CPU", SETTINGS)
    found: set[str] = set()
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        kind, precision, names = (
            facts[key].astype(str) for key in ("layerType", "runtimePrecision", "originalLayersNames")
        )
        if kind in _LAYERS and precision not in ("u8", "i8"):
            found.update(names.split(","))
    return found
