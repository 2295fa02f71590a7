"""Keep torch.onnx's optimizer from rounding a constant to 0 or 1, and from losing one.

onnxscript drops x + c, x - c, x * c and x / c where c is 0 or 1 to within 1e-8 and a relative 1e-5. An epsilon of 1e-8
keeps a division or a logarithm finite; without it the graph gives NaN where PyTorch gives 0, which an example input
may not show. So these constants are made inputs of the graph while it is optimized.

Two clamps of one tensor are fused into Clip nodes whose bounds get the same names; the first ones then stand in no list
of the graph (onnxscript 0.7), and the file is invalid.
"""

from __future__ import annotations

import math
from typing import Any

from onnxscript import ir

_PREFIX = "rectexport_constant_"


def optimize(program: Any) -> None:
    """Call `optimize()` of a torch.onnx.ONNXProgram, keeping constants that are close to 0 or 1."""
    hidden = _hide(program.model.graph)
    program.optimize()
    graph = program.model.graph
    for value in [entry for entry in graph.inputs if entry.name in hidden]:
        graph.inputs.remove(value)
        if value.uses():
            value.const_value = hidden[value.name]
            graph.register_initializer(value)
    _register_lost(graph)


def _register_lost(graph: Any) -> None:
    """Register constants that nodes read and that no graph lists."""
    read = {id(value): value for node in graph.all_nodes() for value in node.inputs if value is not None}
    for value in read.values():
        known = value.producer() is not None or value.is_graph_input() or value.is_initializer()
        if not known and value.const_value is not None:
            graph.register_initializer(value)


def _hide(graph: Any) -> dict[str, Any]:
    """Replace such constants by inputs of the graph; returns the constants by the names of these inputs."""
    made = [node.outputs[0] for node in graph.all_nodes() if node.op_type == "Constant" and not node.domain]
    hidden: dict[str, Any] = {}
    for value in (*made, *list(graph.initializers.values())):
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or value.is_graph_output() or not _is_near(tensor):
            continue
        stand_in = ir.Value(name=f"{_PREFIX}{len(hidden)}", type=ir.TensorType(tensor.dtype), shape=ir.Shape([]))
        ir.convenience.replace_all_uses_with(value, stand_in)
        graph.inputs.append(stand_in)
        hidden[str(stand_in.name)] = tensor
    return hidden


def _is_near(tensor: Any) -> bool:
    if tensor.size != 1 or len(tensor.shape) or not tensor.dtype.is_floating_point():
        return False
    number = float(tensor.numpy())
    return number not in (0, 1) and (abs(number) <= 1e-7 or math.isclose(number, 1, rel_tol=1e-4))
