"""The walk that every raise pass shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, label, open_graph
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.raising.prepare import prepare


@dataclass(frozen=True)
class Scene:
    """A graph under surgery and what is known about it."""

    graph: gs.Graph
    values: Values


@dataclass(frozen=True)
class Outcome:
    """What a pass made of one node: a rewrite, a refusal with its reason, or neither."""

    fired: bool = False
    reason: str = ""


NOTHING, FIRED = Outcome(), Outcome(fired=True)


def refused(reason: str) -> Outcome:
    """The node looked right and was left alone."""
    return Outcome(reason=reason)


Visit = Callable[[Scene, gs.Node], Outcome]


def rewrite(model: ModelProto, name: str, visit: Visit) -> tuple[ModelProto, PassResult]:
    """Show every node of the main graph to `visit`, which may rewrite it; `model` itself if nothing fired.

    An older model is converted first (see prepare); where that fails, the result says so.
    """
    record, ready = PassRecord(name), prepare(model)
    if isinstance(ready, str):
        record.refuse(model.graph.name, ready)
        return model, record.result()
    graph = open_graph(ready)
    scene = Scene(graph, Values(graph))
    for node in list(graph.nodes):
        if not node.outputs:
            continue  # an earlier rewrite took its outputs over
        where, outcome = label(node), visit(scene, node)
        if outcome.fired:
            record.fire(where)
        elif outcome.reason:
            record.refuse(where, outcome.reason)
    return (close_graph(graph, ready) if record.fired else model), record.result()


def only_reader(scene: Scene, tensor: gs.Tensor, reader: gs.Node) -> bool:
    """Whether `reader` alone reads the tensor, once, and the graph does not give it out."""
    given_out = any(tensor is output for output in scene.graph.outputs)
    return not given_out and len(tensor.outputs) == 1 and tensor.outputs[0] is reader


def producer(tensor: gs.Tensor, *operators: str) -> gs.Node | None:
    """The standard node that makes the tensor, if it is one of `operators`."""
    node = tensor.inputs[0] if tensor.inputs else None
    return node if node is not None and node.op in operators and node.domain in (None, "", "ai.onnx") else None
