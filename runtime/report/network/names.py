"""Names for people: a tensor is called after the PyTorch module that makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rectexport.runtime.profiling.origins import Graph
from rectexport.runtime.report.documents import Parity

#: What origins.json and the model's own outputs call the module around all others.
TOP = "."


@dataclass(frozen=True)
class Names:
    """modules: path of the PyTorch module by tensor, as far as the documents say."""

    modules: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, parity: Parity) -> Names:
        """From the traced program, the nodes of the packaged model, and the layers that were compared."""
        made = {name: node.module for node in graph.nodes for name in (node.name, *node.outputs)}
        compared = {layer.tensor: layer.name for case in parity.cases for layer in case.layers}
        found = {**graph.traced, **made, **compared}
        return cls({tensor: path for tensor, path in found.items() if path not in ("", TOP)})

    def of_tensor(self, tensor: str) -> str:
        """The module's path; the tensor's own name where no module is known.

        Names of nodes are understood too: a node is called after its tensor, and a pass adds to the name.
        """
        for name in (tensor, tensor.partition(".")[0], _traced(tensor)):
            if name in self.modules:
                return self.modules[name]
        return tensor


def _traced(node: str) -> str:
    """The tensor that a node is called after: relu_1 for node_relu_1, conv for node_conv: tail."""
    return re.sub(r"__\d+$", "", node.partition(":")[0].partition(" ")[0].removeprefix("node_"))
