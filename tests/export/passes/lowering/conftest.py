"""Small float64 models with dialect nodes, lowered into one form and run with the NumPy reference's convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import inline, lower, rectify_fold, rectify_graph
from rectexport.exporter.passes.lowering import Decision
from rectexport.plugins import reference
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner


class Conv(OpRun):
    """The reference's convolution: float64, as slow as it is plain."""

    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        windows = (strides or (1, 1), pads or (0, 0, 0, 0), dilations or (1, 1), group or 1)
        return (reference.conv2d(x, w, b, *windows),)


@dataclass(frozen=True)
class Forced:
    """Costs that make one form win wherever it is exact."""

    form: str
    description: str = "forced"

    def ratio(self, operator: str, form: str, shape: Any) -> float | None:
        return 0.5 if form == self.form else None


def build(
    nodes: Sequence[NodeProto], shape: Sequence[Any], constants: Mapping[str, Any], outputs: Sequence[str] = ("out",)
) -> ModelProto:
    """A model that reads x, with every inner shape that ONNX can infer."""
    dtype = TensorProto.DOUBLE
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    dialect.attach_functions(model)
    return infer_shapes(model)


def run(model: ModelProto, x: Any) -> list[Any]:
    """Outputs in float64."""
    checker.check_model(model)
    return ReferenceEvaluator(model, new_ops=[Conv]).run(None, {"x": x})


def evaluate(model: ModelProto, x: Any) -> Any:
    """The first output on ONNX Runtime, unoptimized, in float32."""
    runner = OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False)
    return next(iter(runner.run({runner.inputs[0].name: x}).values()))


def finish(model: ModelProto) -> ModelProto:
    """The passes that follow lowering."""
    for entry in (rectify_fold, rectify_graph, inline):
        model, _ = entry.run(model)
    return model


def apply(model: ModelProto, form: str) -> tuple[ModelProto, Decision]:
    """The model with `form` wherever it is exact, and the last decision."""
    lowered, _, decisions = lower(model, Forced(form))
    return finish(lowered), decisions[-1]


def written(model: ModelProto) -> ModelProto:
    """The model lowered without any measured cost: counting alone decides."""
    return finish(lower(model, Forced(""))[0])


def relative(expected: Any, actual: Any) -> float:
    """Relative L2 difference."""
    assert expected.shape == actual.shape
    scale = float(np.linalg.norm(expected))
    return float(np.linalg.norm(expected - actual)) / (scale or 1.0)


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    return SimpleNamespace(
        build=build,
        run=run,
        apply=apply,
        finish=finish,
        evaluate=evaluate,
        written=written,
        relative=relative,
    )
