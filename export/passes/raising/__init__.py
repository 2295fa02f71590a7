"""Raise passes: find our operators in any ONNX graph and turn them into dialect nodes."""

from __future__ import annotations

from onnx import ModelProto

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.raising.together import run_together

__all__ = ["raise_model"]


def raise_model(model: ModelProto) -> tuple[ModelProto, list[PassResult]]:
    """Every raise pass of the release in order, with a result for each; see run_together."""
    from rectexport.exporter.passes.order import PASSES, RAISE  # which imports the passes of this folder

    return run_together([entry for entry in PASSES if entry.stage == RAISE], model)
