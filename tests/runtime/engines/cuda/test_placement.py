"""Reads a real profile, and decides which nodes may run on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectexport.runtime.engines.cuda.placement import Placed, astray, read_profile
from rectexport.runtime.package.folder import Package


def test_a_real_profile_is_read(exported: Path, tmp_path: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = ort.InferenceSession(str(exported / "model.onnx"), options, providers=["CPUExecutionProvider"])
    session.run(None, Package.open(exported).goldens()[0])
    nodes = read_profile(Path(session.end_profiling()))
    assert {node.provider for node in nodes} == {"CPUExecutionProvider"}
    conv = next(node for node in nodes if node.operator == "Conv")
    assert conv.outputs[0][0] == 4 and len(conv.outputs[0]) == 4 and not conv.name.endswith("_time")
    assert conv in astray(nodes, "CUDAExecutionProvider")
    assert astray(nodes, "CPUExecutionProvider") == []


@pytest.mark.parametrize(
    ("operator", "outputs", "allowed"),
    [
        ("Shape", ((4,),), True),
        ("Gather", ((),), True),
        ("Div", ((1, 1, 56, 56),), True),  # a rectification map
        ("Mul", ((56, 56),), True),
        ("Mul", ((1, 64, 56, 56),), False),
        ("Add", ((8, 1, 56, 56),), False),
        ("Conv", ((1, 1, 8, 8),), False),
        ("Gemm", ((1, 10),), False),
        ("Split", ((2,), (2, 3, 4)), False),
    ],
)
def test_only_shapes_are_computed_on_the_cpu(operator: str, outputs: tuple, allowed: bool) -> None:
    node = Placed("node", operator, "CPUExecutionProvider", outputs)
    assert node.computes_shapes == allowed
    assert astray([node], "CUDAExecutionProvider") == ([] if allowed else [node])
    assert astray([node], "CPUExecutionProvider") == []
