"""Constants of a graph, however its exporter wrote them: initializers, Constant nodes, or arithmetic on either."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

#: Results beyond this are not computed: no factor, pad or split is so large.
MAX_BYTES = 1 << 26
_RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
_RANDOM |= {"RandomUniformLike"}
_STANDARD = (None, "", "ai.onnx")


class Values:
    """Evaluates the tensors that depend on constants only, each once."""

    def __init__(self, graph: gs.Graph) -> None:
        self._opset = graph.opset
        self._fixed = _fixed_outputs(graph)
        # The tensor is kept beside its value so that its id stays its own.
        self._known: dict[int, tuple[gs.Tensor, NDArray[Any] | None]] = {}

    def of(self, tensor: gs.Tensor) -> NDArray[Any] | None:
        """The tensor's value, or None when it depends on an input or is too large.

        None also for the types that NumPy lacks, bfloat16 for one: graphsurgeon numbers them, and would change
        the stored type of a constant whose values are read.
        """
        if isinstance(tensor, gs.Constant):
            return None if isinstance(tensor.dtype, int) else np.asarray(tensor.values)
        if id(tensor) not in self._fixed:
            return None
        if id(tensor) not in self._known:
            self._known[id(tensor)] = (tensor, self._compute(tensor))
        return self._known[id(tensor)][1]

    def _compute(self, tensor: gs.Tensor) -> NDArray[Any] | None:
        node = tensor.inputs[0]
        feeds: dict[str, Any] = {entry.name: self.of(entry) for entry in node.inputs if entry.name}
        if any(value is None for value in feeds.values()):
            return None
        try:
            evaluator = ReferenceEvaluator(OnnxExporter.export_node(node), opsets={"": self._opset})
            results: Any = evaluator.run([tensor.name], feeds)
        except Exception:  # the reference lacks an operator or an option: then the value is unknown
            return None
        value = np.asarray(results[0])
        return value if value.nbytes <= MAX_BYTES else None


def _fixed_outputs(graph: gs.Graph) -> set[int]:
    """Ids of the tensors that no input reaches. ONNX keeps nodes in topological order."""
    fixed: set[int] = set()
    for node in graph.nodes:
        if node.domain in _STANDARD and node.op not in _RANDOM and not _has_subgraph(node):
            inputs = [entry for entry in node.inputs if entry.name]
            if all(isinstance(entry, gs.Constant) or id(entry) in fixed for entry in inputs):
                fixed.update(id(entry) for entry in node.outputs)
    return fixed


def _has_subgraph(node: gs.Node) -> bool:
    return any(isinstance(value, gs.Graph) for value in node.attrs.values())
