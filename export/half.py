"""float16 in the graph, with float32 kept where half precision would lose the answer.

Given   a float32 model             Result  the same graph in float16, casts where the two meet

Stays in float32: the multiplication by rectification factors, which are not float16 numbers (49/20), and any
node with a weight beyond float16's range. Inputs and outputs keep their float32 type.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from rectexport.exporter.passes.rectification import SCALE_PREFIX
from rectexport.exporter.passes.result import PassResult, Tally
from rectexport.runtime.environment import require

NAME = "float16"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Convert the model; a refusal is a node that stays in float32."""
    tally = Tally(NAME)
    kept = []
    for name, reason in _kept_nodes(model):
        kept.append(name)
        tally.refuse(name, reason)
    converter = require("onnxruntime.transformers.float16")
    converted: ModelProto = converter.convert_float_to_float16(
        _copy(model), keep_io_types=True, node_block_list=kept, disable_shape_infer=True
    )
    del converted.graph.value_info[:]  # the converter leaves float32 notes on tensors that are float16 now
    tally.fire(f"{sum(entry.data_type == TensorProto.FLOAT16 for entry in converted.graph.initializer)} weights")
    return converted, tally.result()


def _kept_nodes(model: ModelProto) -> Iterator[tuple[str, str]]:
    limit = float(np.finfo(np.float16).max)
    large = {
        entry.name
        for entry in model.graph.initializer
        if entry.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(entry)).max(initial=0) > limit
    }
    for node in model.graph.node:
        if node.name.startswith(SCALE_PREFIX):
            yield node.name, "rectification factors stay exact"
        elif large.intersection(node.input):
            yield node.name, "a weight is beyond float16's range"


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
