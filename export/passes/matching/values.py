"""The constants of a graph: initializers, Constant nodes, and what is computed from either."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import GraphProto, TypeProto, ValueInfoProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from rectexport.exporter.graph.dialect import RANDOM
from rectexport.exporter.graph.surgeon import is_numeric, is_standard

#: Larger results are not computed: no factor, pad or split is so large.
MAX_BYTES = 1 << 26
#: Elements of the largest tensor that can hold the sizes of another one.
MAX_SIZES = 256
#: Operators with random numbers, and those with subgraphs.
_NOT_EVALUATED = {*RANDOM, "Dropout", "If", "Loop", "Scan", "SequenceMap"}


class Values:
    """Evaluates the tensors that depend on constants only, each once."""

    def __init__(self, graph: gs.Graph) -> None:
        self._opset = graph.opset
        self._fixed = _fixed_outputs(graph)
        # The tensor is kept beside its value so that no other tensor gets its id.
        self._known: dict[int, tuple[gs.Tensor, NDArray[Any] | None]] = {}

    def of(self, tensor: gs.Tensor) -> NDArray[Any] | None:
        """The tensor's value, or None when it depends on an input or is too large.

        None also for types that NumPy lacks, such as bfloat16, of which graphsurgeon holds the number.
        """
        if isinstance(tensor, gs.Constant):
            return np.asarray(tensor.values) if self.known(tensor) else None
        if id(tensor) not in self._fixed:
            return None
        if id(tensor) not in self._known:
            self._known[id(tensor)] = (tensor, self._compute(tensor))
        return self._known[id(tensor)][1]

    def known(self, tensor: gs.Tensor) -> bool:
        """Whether the tensor has a value. A stored one is not read: that copies it."""
        if isinstance(tensor, gs.Constant):
            return is_numeric(tensor) and not isinstance(tensor.dtype, int)
        return self.of(tensor) is not None

    def _compute(self, tensor: gs.Tensor) -> NDArray[Any] | None:
        node = tensor.inputs[0]
        if node.op == "CastLike":  # the value of its second input does not matter
            value = self.of(node.inputs[0])
            known = isinstance(tensor.dtype, type | np.dtype)
            return value.astype(tensor.dtype) if value is not None and known else None
        feeds: dict[str, Any] = {entry.name: self.of(entry) for entry in node.inputs if entry.name}
        if any(value is None for value in feeds.values()):
            return None
        if not _small_result(node, feeds, self._opset):
            return None
        try:
            evaluator = ReferenceEvaluator(OnnxExporter.export_node(node), opsets={"": self._opset})
            results: Any = evaluator.run([tensor.name], feeds)
        except Exception:  # the reference lacks an operator or an option: then the value is unknown
            return None
        value = np.asarray(results[0])
        return value if value.nbytes <= MAX_BYTES else None


def _small_result(node: gs.Node, feeds: dict[str, NDArray[Any]], opset: int) -> bool:
    """Whether shape inference finds the outputs small: a few bytes may ask for a tensor that fills the memory."""
    graph = GraphProto(node=[OnnxExporter.export_node(node)])
    graph.input.extend(_noted(name, value) for name, value in feeds.items())
    # Inference reads the values of shapes, pads and repeats, and never those of data.
    short = {name: value for name, value in feeds.items() if value.size <= MAX_SIZES}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in short.items())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # an operator or a value that inference refuses
        return False
    noted = {value.name: value.type.tensor_type for value in inferred.graph.value_info}
    return all(entry.name in noted and _bytes(noted[entry.name]) <= MAX_BYTES for entry in node.outputs if entry.name)


def _noted(name: str, value: NDArray[Any]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _bytes(kind: TypeProto.Tensor) -> float:
    sizes = [dim.dim_value if dim.HasField("dim_value") else math.inf for dim in kind.shape.dim]
    return math.prod(sizes, start=8.0) if kind.HasField("shape") and min(sizes, default=0) >= 0 else math.inf


def _fixed_outputs(graph: gs.Graph) -> set[int]:
    """Ids of the tensors that no input reaches. ONNX keeps nodes in topological order."""
    fixed: set[int] = set()
    for node in graph.nodes:
        if is_standard(node) and node.op not in _NOT_EVALUATED:
            inputs = [entry for entry in (node.inputs[:1] if node.op == "CastLike" else node.inputs) if entry.name]
            if all(isinstance(entry, gs.Constant) or id(entry) in fixed for entry in inputs):
                fixed.update(id(entry) for entry in node.outputs)
    return fixed
