"""Replace the dialect nodes that are left by their bodies in standard operators.

Given   y = rectexport.F(x…)        Result  y = the nodes of F's body, their constants folded

Exact by definition: the body is what the node means. Nodes in branches and loop bodies are replaced too.

Not when the target runs the node itself: with rectify="plugin", Rectify stays a node with its function body, for a
TensorRT plugin of that name. The plugin computes planes only: Rectify1d and Rectify3d are replaced.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, inliner
from onnxscript import optimizer

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.carried import copy_header
from rectexport.exporter.graph.results import PassRecord, PassResult

NAME = "inline"
#: The operators that a TensorRT plugin computes.
PLUGINS = ("Rectify",)


def plugin_operators(rectify: str) -> tuple[str, ...]:
    """The dialect's operators that a form of rectification leaves to a TensorRT plugin."""
    return PLUGINS if rectify == "plugin" else ()


def standard_rectifies(rectify: str) -> tuple[str, ...]:
    """The operators of rectification that a form of it writes in standard operators."""
    return tuple(name for name in dialect.RECTIFIES.values() if name not in plugin_operators(rectify))


def run(model: ModelProto, rectify: str = "auto") -> tuple[ModelProto, PassResult]:
    """Inline every dialect function, but those of plugins where rectify is "plugin"."""
    left, record = plugin_operators(rectify), PassRecord(NAME)
    model = dialect.with_defaults(model)
    for node in dialect.dialect_nodes(model.graph):
        if node.op_type not in left:
            record.fire(f"{node.op_type} {node.name or node.output[0]}")
    if not record.fired:
        return model, record.result()
    wanted = [
        (entry.domain, entry.name)
        for entry in model.functions
        if entry.domain == dialect.DOMAIN and entry.name not in left
    ]
    inlined: ModelProto = inliner.inline_selected_functions(model, wanted)
    dialect.attach_functions(inlined)
    folded = _fold_constants(inlined)
    copy_header(model, folded)
    return folded, record.result()


def _fold_constants(model: ModelProto) -> ModelProto:
    """Evaluate what depends on constants only; graph inputs and outputs keep their names and noted shapes."""
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    optimizer.fold_constants(folded, onnx_shape_inference=False)
    optimizer.remove_unused_nodes(folded)
    del folded.graph.output[:]
    folded.graph.output.extend(model.graph.output)  # it may have renamed their dynamic sizes
    return folded
