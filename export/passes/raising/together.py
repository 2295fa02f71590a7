"""Several raise passes as one: the model is prepared once, and comes back as it was when none fires."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from rectexport.exporter.graph.results import Code, Pass, PassResult, Refusal
from rectexport.exporter.passes.matching.rewrite import kept_open
from rectexport.exporter.passes.raising.prepare import prepare

NAME = "raise"


def run_together(passes: Sequence[Pass], model: ModelProto) -> tuple[ModelProto, list[PassResult]]:
    """Every pass in order. `model` itself when none fired; its input and output names are kept.

    A model below opset 15 comes back at opset 18 if anything was raised. Where it cannot be converted, one result
    gives the reason and nothing is raised.
    """
    ready = prepare(model)
    if isinstance(ready, str):
        return model, [PassResult(NAME, refused=(Refusal(model.graph.name, ready, Code.OPSET),))]
    results = []
    with kept_open():
        for entry in passes:
            ready, result = entry.run(ready)
            results.append(result)
    return (ready if any(result.fired for result in results) else model), results


def as_one(passes: Sequence[Pass], model: ModelProto) -> tuple[ModelProto, PassResult]:
    """The same with one result named "raise", in which each entry is preceded by the name of its pass."""
    raised, results = run_together(passes, model)
    fired = tuple(f"{result.name}: {entry}" for result in results for entry in result.fired)
    return raised, PassResult(NAME, fired, tuple(entry for result in results for entry in result.refused))
