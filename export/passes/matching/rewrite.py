"""The walk over a graph that every raise pass shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, label, open_graph, sole_consumer
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.raising.prepare import prepare


@dataclass(frozen=True)
class Scene:
    """A graph under surgery and its constants."""

    graph: gs.Graph
    values: Values


@dataclass(frozen=True)
class Visit:
    """What a pass did at one node: a rewrite, a refusal with its reason, or neither."""

    fired: bool = False
    reason: str = ""
    code: Code = Code.MISMATCH


NOTHING, FIRED = Visit(), Visit(fired=True)


def refused(reason: str, code: Code = Code.MISMATCH) -> Visit:
    """The node looked right and was left alone."""
    return Visit(reason=reason, code=code)


def rewrite(model: ModelProto, name: str, visit: Callable[[Scene, gs.Node], Visit]) -> tuple[ModelProto, PassResult]:
    """Show every node of the main graph to `visit`, which may rewrite it; `model` itself if nothing fired.

    An older model is converted first (see prepare); where that fails, the result gives the reason.
    """
    record, ready = PassRecord(name), prepare(model)
    if isinstance(ready, str):
        record.refuse(model.graph.name, ready, Code.OPSET)
        return model, record.result()
    graph = open_graph(ready)
    scene = Scene(graph, Values(graph))
    for node in list(graph.nodes):
        if not node.outputs:
            continue  # an earlier rewrite took its outputs over
        where, done = label(node), visit(scene, node)
        if done.fired:
            record.fire(where)
        elif done.reason:
            record.refuse(where, done.reason, done.code)
    return (close_graph(graph, ready) if record.fired else model), record.result()


def only_reader(scene: Scene, tensor: gs.Tensor, reader: gs.Node) -> bool:
    """Whether `reader` alone reads the tensor, once, and the tensor is no output of the graph."""
    return sole_consumer(scene.graph, tensor) is reader


def used_elsewhere(scene: Scene, reads: Iterable[tuple[gs.Tensor, gs.Node]]) -> Visit | None:
    """The refusal for the first tensor that another node than the one beside it reads; None when there is none."""
    for tensor, reader in reads:
        if not only_reader(scene, tensor, reader):
            return refused(f"{tensor.name} is also used elsewhere", Code.USED_ELSEWHERE)
    return None
