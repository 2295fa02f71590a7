"""Graph passes, in order. Each file opens with its algebra and says when it must not fire."""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.exporter.graph.results import Pass, PassResult, Refusal
from rectexport.exporter.passes import batch_norm, cleanup, global_mean, inline, rectify_fold, rectify_graph

__all__ = ["PASSES", "PREPARE", "Pass", "PassResult", "Refusal", "select_passes"]

#: What must come before lowering: a shift must join the bias before the bias becomes a plain Add, and a
#: convolution's weights must be final before forms are made of them.
PREPARE = (Pass(batch_norm.NAME, batch_norm.run),)
PASSES = (
    *PREPARE,
    Pass(rectify_fold.NAME, rectify_fold.run),  # before graph: a constant is cheaper wherever sizes are known
    Pass(rectify_graph.NAME, rectify_graph.run),  # takes what fold refused, so that no Rectify is left
    Pass(inline.NAME, inline.run),  # after every pass that matches dialect nodes
    Pass(cleanup.NAME, cleanup.run),  # last: tidies what the others leave
)

#: Passes that each form of rectification leaves out.
_LEFT_OUT = {
    "auto": (),
    "fold": (rectify_graph.NAME,),
    "graph": (rectify_fold.NAME,),
    "plugin": (rectify_fold.NAME, rectify_graph.NAME),
}
RECTIFY_FORMS = tuple(_LEFT_OUT)
#: What one engine needs; before the others, which then see what it makes.
_FOR_TARGET = {"tensorrt": (Pass(global_mean.NAME, global_mean.run),)}
#: Passes that a form of rectification has in place of others.
_REPLACED = {"plugin": {inline.NAME: Pass(inline.NAME, inline.run_but_plugins)}}


def select_passes(rectify: str, lowering: Sequence[Pass] = (), target: str = "") -> tuple[Pass, ...]:
    """The passes for a form of rectification: "auto" folds what is static, "fold" and "graph" do only that.

    "plugin" leaves Rectify nodes, with their function bodies.

    target adds what its engine needs. lowering goes after PREPARE: it matches dialect nodes, and what it leaves is
    for the passes that follow.
    """
    replaced = _REPLACED.get(rectify, {})
    rest = (replaced.get(entry.name, entry) for entry in PASSES[len(PREPARE) :] if entry.name not in _LEFT_OUT[rectify])
    return (*PREPARE, *_FOR_TARGET.get(target, ()), *lowering, *rest)
