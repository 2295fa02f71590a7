"""--rectify plugin: Rectify stays a node with its body, which engines without the plugin run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, checker

from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.graph.guard import run_passes
from rectexport.exporter.passes.precision import bfloat16, half
from tests.export.helper import build, normal, outputs, passes_after_lowering, relative_l2
from tests.export.nets import Small, exported, image, seeded, source

WINDOW = "kernel_shape=[7,7], strides=[1,1], pads=[3,3,3,3], dilations=[1,1], numerator=49"
pytestmark = pytest.mark.usefixtures("shared_traces")
RANGE = ShapeOptions(min=["x:1x2x4x4"], opt=["x:2x2x6x6"], max=["x:3x2x9x9"])


def dialect(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.domain == DOMAIN]


@pytest.mark.parametrize("shapes", [ShapeOptions(), RANGE], ids=["static", "dynamic"])
@pytest.mark.parametrize("options", [{}, {"fp16": True}, {"bf16": True, "opset": 22}], ids=["fp32", "fp16", "bf16"])
def test_nodes_stay_and_run(shapes: ShapeOptions, options: dict[str, Any], tmp_path: Path) -> None:
    """The export itself compares ONNX Runtime, which runs the bodies, with PyTorch."""
    result = exported(source(seeded(Small()), image(2, 2, 6, 6)), tmp_path / "net", shapes, rectify="plugin", **options)
    model = onnx.load(result.package.model_file)
    checker.check_model(model, full_check=True)
    assert dialect(model) == ["Rectify", "Rectify"]
    (body,) = model.functions  # TensorRT resolves attribute references of one level only
    assert body.name == "Rectify" and not any(node.domain for node in body.node)
    assert result.package.manifest.data["options"]["rectify"] == "plugin"


def lowered(**weights: Any) -> ModelProto:
    body = f"a = Conv<pads=[3,3,3,3]>(x, w)\n z = rectexport.Rectify<{WINDOW}, empty_bias=1>(a, x, bias)"
    model = build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", body, 22, **weights)
    return run_passes(model, passes_after_lowering("plugin"), [], Log(), guard=False)[0]


def test_factors_are_exact_in_half_precision() -> None:
    """1·r in a corner is 49/16: the body multiplies by it in float32 and rounds once, at the end."""
    identity = np.zeros((2, 2, 7, 7), np.float32)
    identity[0, 0, 3, 3] = identity[1, 1, 3, 3] = 1
    model = lowered(w=identity, bias=np.zeros(2, np.float32))
    x = np.full((1, 2, 9, 9), 1 + 2.0**-9, np.float32)
    converted, _ = half.run(model)
    assert dialect(converted) == ["Rectify"]
    exact = outputs(model, {"x": x})[0]
    np.testing.assert_array_equal(outputs(converted, {"x": x})[0], exact.astype(np.float16).astype(np.float32))


def test_bfloat16_keeps_the_node() -> None:
    model = lowered(w=normal(2, 2, 7, 7) / 7, bias=normal(2, seed=1))
    converted, _ = bfloat16.run(model)
    assert dialect(converted) == ["Rectify"]
    x = normal(1, 2, 8, 9)
    emulated = bfloat16.emulate(converted)
    assert 1e-4 < relative_l2(outputs(model, {"x": x})[0], outputs(emulated, {"x": x})[0]) <= 2e-2
