"""Tensors are called after their modules, also by the names that nodes and passes give them."""

from __future__ import annotations

import pytest

from rectexport.runtime.profiling.origins import Graph, Node
from rectexport.runtime.report.documents import Case, Distance, Layer, Parity
from rectexport.runtime.report.network.names import Names

GRAPH = Graph((Node("node_Conv_9", "Conv", (), ("conv",), "stem.0"), Node("g", "Gemm", (), ("logits",), ".")), {
    "native_batch_norm": "stem.1", "getitem_6": "body.norm",
})  # fmt: skip


def names() -> Names:
    distance = Distance(0.0, 0.0, 1.0, None)
    case = Case("opt", {}, {}, (Layer("relu", "stem.2", distance, {}),), ())
    return Names.of(GRAPH, Parity(True, "", "", {}, (case,), ()))


@pytest.mark.parametrize(
    ("tensor", "module"),
    [
        ("getitem_6", "body.norm"),
        ("getitem_6.scaled", "body.norm"),
        ("node_getitem_6: tail", "body.norm"),
        ("node_native_batch_norm__0", "stem.1"),
        ("node_Conv_9", "stem.0"),
        ("relu", "stem.2"),
        ("logits", "logits"),  # of the model itself: its own name says more
        ("unknown", "unknown"),
    ],
)
def test_names(tensor: str, module: str) -> None:
    assert names().of_tensor(tensor) == module
