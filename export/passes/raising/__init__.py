"""Raise passes: our operators, found in any ONNX graph, as dialect nodes."""

from __future__ import annotations

from onnx import ModelProto

from rectexport.exporter.graph.results import Pass, PassResult, Refusal
from rectexport.exporter.passes.raising import avr, conv_sum, crelu, embedded, rectification, shift, symmetric, tidy
from rectexport.exporter.passes.raising.prepare import prepare

__all__ = ["RAISE", "RAISING", "raise_model"]

RAISE = (
    Pass(tidy.NAME, tidy.run),  # first: identities and explicit padding stand between the parts of every pattern
    Pass(symmetric.NAME, symmetric.run),  # after tidy, which never reaches into a Concat of padded groups
    Pass(shift.NAME, shift.run),
    Pass(embedded.NAME, embedded.run),  # before rectification: what it takes is no zero-padded convolution any more
    Pass(conv_sum.NAME, conv_sum.run),  # before rectification too, which reads additions after a convolution
    Pass(avr.NAME, avr.run),  # before crelu: both read Neg, and the sum is the smaller pattern
    Pass(crelu.NAME, crelu.run),
    Pass(rectification.NAME, rectification.run),  # last: it renames the outputs of convolutions
)


def raise_model(model: ModelProto) -> tuple[ModelProto, list[PassResult]]:
    """Every raise pass in order. `model` itself when none fired; its input and output names are kept.

    A model below opset 15 comes back at opset 18 if anything was raised. Where it cannot be converted, one
    result says why and nothing is raised.
    """
    ready = prepare(model)
    if isinstance(ready, str):
        return model, [PassResult("raise", refused=(Refusal(model.graph.name, ready),))]
    results = []
    for entry in RAISE:
        ready, result = entry.run(ready)
        results.append(result)
    return (ready if any(result.fired for result in results) else model), results


def _run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    raised, results = raise_model(model)
    fired = tuple(f"{result.name}: {entry}" for result in results for entry in result.fired)
    return raised, PassResult("raise", fired, tuple(entry for result in results for entry in result.refused))


#: All of RAISE as one pass.
RAISING = Pass("raise", _run)
