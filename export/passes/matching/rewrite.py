"""The walk over a graph that every raise pass shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


@dataclass(frozen=True)
class _Opened:
    """A model as it was given, as it was prepared, and its graph."""

    model: ModelProto
    ready: ModelProto
    scene: Scene


#: The model that was opened last and left as it was; None where nothing is kept.
_kept: ContextVar[list[_Opened] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_open() -> Iterator[None]:
    """Within the block, a model in which a walk changed nothing is not opened again for the next one."""
    token = _kept.set([])
    try:
        yield
    finally:
        _kept.reset(token)


def refused(reason: str, code: Code = Code.MISMATCH) -> Visit:
    """The node looked right and was left alone."""
    return Visit(reason=reason, code=code)


def rewrite(model: ModelProto, name: str, visit: Callable[[Scene, gs.Node], Visit]) -> tuple[ModelProto, PassResult]:
    """Show every node of the main graph to `visit`, which may rewrite it; `model` itself if nothing fired.

    An older model is converted first (see prepare); where that fails, the result gives the reason.
    """
    record, opened = PassRecord(name), _open(model)
    if isinstance(opened, str):
        record.refuse(model.graph.name, opened, Code.OPSET)
        return model, record.result()
    scene, graph = opened.scene, opened.scene.graph
    for node in list(graph.nodes):
        if not node.outputs:
            continue  # an earlier rewrite took its outputs over
        where, done = label(node), visit(scene, node)
        if done.fired:
            record.fire(where)
        elif done.reason:
            record.refuse(where, done.reason, done.code)
    if record.fired:
        return close_graph(graph, opened.ready), record.result()
    kept = _kept.get()
    if kept is not None:
        kept.append(opened)
    return model, record.result()


def _open(model: ModelProto) -> _Opened | str:
    """The model, opened, or the reason why not.

    What is kept is taken away, so that no walk meets what one left that failed on its way.
    """
    kept = _kept.get() or []
    last = kept.pop() if kept else None
    if last is not None and last.model is model:
        return last
    ready = prepare(model)
    if isinstance(ready, str):
        return ready
    graph = open_graph(ready)
    return _Opened(model, ready, Scene(graph, Values(graph)))


def only_reader(scene: Scene, tensor: gs.Tensor, reader: gs.Node) -> bool:
    """Whether `reader` alone reads the tensor, once, and the tensor is no output of the graph."""
    return sole_consumer(scene.graph, tensor) is reader


def used_elsewhere(scene: Scene, reads: Iterable[tuple[gs.Tensor, gs.Node]]) -> Visit | None:
    """The refusal for the first tensor that another node than the one beside it reads; None when there is none."""
    for tensor, reader in reads:
        if not only_reader(scene, tensor, reader):
            return refused(f"{tensor.name} is also used elsewhere", Code.USED_ELSEWHERE)
    return None
