"""ReduceMean over a plane becomes GlobalAveragePool, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rectexport.exporter.passes.engines import global_mean
from tests.export.helper import build, check_pass, normal, operators
from tests.export.nets import Small, exported, image, seeded, source


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1, -2], [2, -1]])
@pytest.mark.parametrize(("keepdims", "shape"), [(1, "N,2,1,1"), (0, "N,2")])
@pytest.mark.parametrize("dims", ["4,5", "H,W"])
def test_planes(axes: list[int], keepdims: int, shape: str, dims: str) -> None:
    body = f"a = Relu(x)\n y = ReduceMean<keepdims={keepdims}>(a, axes)"
    model = build(f"(float[N,2,{dims}] x) => (float[{shape}] y)", body, axes=np.array(axes, np.int64))
    rewritten, _ = check_pass(global_mean.run, model, {"x": normal(3, 2, 4, 5)})
    assert operators(rewritten) == ["Relu", "GlobalAveragePool", *(["Flatten"] if not keepdims else [])]


@pytest.mark.parametrize(
    ("signature", "axes"),
    [
        ("(float[2,3,4,5] x) => (float[2,3,4,1] y)", [3]),
        ("(float[2,3,4,5] x) => (float[2,1,1,1] y)", [1, 2, 3]),
        ("(float[2,3,4,5] x) => (float[2,1,4,1] y)", [1, 3]),
        ("(float[3,4,5] x) => (float[3,1,1] y)", [1, 2]),
    ],
)
def test_others_stay(signature: str, axes: list[int]) -> None:
    model = build(signature, "y = ReduceMean(x, axes)", axes=np.array(axes, np.int64))
    shape = (3, 4, 5) if signature.startswith("(float[3") else (2, 3, 4, 5)
    _, result = check_pass(global_mean.run, model, {"x": normal(*shape)})
    assert len(result.refused) == 1


def test_an_export_for_tensorrt_has_no_reduce_mean(tmp_path: Path) -> None:
    net = source(seeded(Small()), image(2, 2, 6, 6))
    for target, found in (("tensorrt", False), ("onnxruntime", True)):
        model = onnx.load(exported(net, tmp_path / target, target=target).package.model_file)
        assert ("ReduceMean" in operators(model)) == found
