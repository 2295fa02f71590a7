"""A pass against the engine that needs it: the engine fails without it, and is right with it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from onnx import ModelProto

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.shapes import infer_shapes
from tests.differential.case import Array
from tests.export.helper import Run, check_pass, relative_l2

engines = pytest.importorskip("tests.differential.engines")
RELATIVE_L2 = 1e-6


def needed(run: Run, model: ModelProto, *feeds: Mapping[str, Array]) -> ModelProto:
    """Hold a pass to its promises, and OpenVINO to the fault that the pass is for. Returns the rewritten model."""
    rewritten = exact(run, model, *feeds)
    for feed in feeds:
        expected = engines.onnxruntime_plain(model, feed)
        faulty = engines.attempt(engines.openvino_cpu, model, feed)
        assert isinstance(faulty, str) or engines.difference(expected, faulty), (
            "OpenVINO computes this right now: the pass and its row in export/engine_facts can go for this version"
        )
        said = engines.difference(expected, engines.openvino_cpu(rewritten, feed))
        assert not said, f"OpenVINO with the pass: {said}"
    return rewritten


def exact(run: Run, model: ModelProto, *feeds: Mapping[str, Array]) -> ModelProto:
    """Run a pass that must fire, and compare with ONNX Runtime. Returns the rewritten model."""
    rewritten, result = check_pass(run, infer_shapes(model), *feeds)
    assert result.fired
    for feed in feeds:
        for one, other in zip(
            engines.onnxruntime_plain(model, feed), engines.onnxruntime_plain(rewritten, feed), strict=True
        ):
            assert one.shape == other.shape and relative_l2(one, other) <= RELATIVE_L2
    return rewritten


def refused(run: Run, model: ModelProto) -> PassResult:
    """Run a pass that must leave the model alone."""
    shaped = infer_shapes(model)
    rewritten, result = run(shaped)
    assert rewritten is shaped and not result.fired
    return result
