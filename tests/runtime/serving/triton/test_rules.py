"""Configurations that Triton itself refuses are found; each was given to tritonserver 2.51."""

from __future__ import annotations

from pathlib import Path

import pytest

pb = pytest.importorskip("tritonclient.grpc.model_config_pb2")
text_format = pytest.importorskip("google.protobuf.text_format")

from rectexport.runtime.serving.triton.rules import refusals  # noqa: E402

GOOD = """name: "t" backend: "onnxruntime" platform: "onnxruntime_onnx" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [3] } output { name: "y" data_type: TYPE_FP32 dims: [2, -1] }
instance_group { kind: KIND_CPU count: 1 } dynamic_batching { max_queue_delay_microseconds: 100 }"""

REFUSED = {
    "no dims": ("dims: [3]", "", "input x: no dims"),
    "zero": ("dims: [3]", "dims: [0]", r"expected -1 or sizes from 1"),
    "scalar": ("max_batch_size: 4", "max_batch_size: 0", "no scalars"),
    "reshape": ("dims: [3]", "dims: [4] reshape { shape: [3] }", "another number of elements"),
    "free reshape": ("dims: [2, -1]", "dims: [2, -1] reshape { shape: [-1, 2] }", "another number of elements"),
    "two free": ("dims: [2, -1]", "dims: [-1] reshape { shape: [-1, -1] }", "another number of elements"),
    "format": ("dims: [3]", "dims: [3] format: FORMAT_NCHW", "expected 3"),
    "labels": ("dims: [2, -1]", 'dims: [2, -1] label_filename: "labels.txt"', "'labels.txt' is missing"),
    "shape tensor": ("dims: [3]", "dims: [3] is_shape_tensor: true", "only backend tensorrt"),
    "preferred": ("max_queue_delay_microseconds: 100", "preferred_batch_size: [8]", "expected 1 to max_batch_size 4"),
    "priority": ("max_queue_delay_microseconds: 100", "priority_levels: 2", "default_priority_level 0"),
    "ordering": (
        "max_queue_delay_microseconds: 100",
        "priority_levels: 2 default_priority_level: 1 preserve_ordering: true",
        "preserve_ordering",
    ),
    "gpus": ("kind: KIND_CPU", "kind: KIND_CPU gpus: [0]", "KIND_CPU with gpus"),
    "profile": ("kind: KIND_CPU", 'kind: KIND_CPU profile: ["0"]', "only backend tensorrt"),
    "policy": ("instance_group", "version_policy { specific { versions: [2] } } instance_group", "no version 2"),
    "none": ("instance_group", "version_policy { latest { num_versions: 0 } } instance_group", "none is served"),
    "unknown": ("instance_group", "batch_input { } instance_group", "this check does not know it"),
    "accelerator": (
        "instance_group",
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "x" } } } instance_group',
        "accelerator 'x'",
    ),
}


def found(text: str, folder: Path) -> list[str]:
    return list(refusals(text_format.Parse(text, pb.ModelConfig()), pb, ["1"], folder))


def test_a_good_configuration_has_no_fault(tmp_path: Path) -> None:
    assert found(GOOD, tmp_path) == []
    assert found(GOOD.replace("dims: [3]", "dims: [1] reshape { }"), tmp_path) == []
    assert found(GOOD.replace("dims: [2, -1]", "dims: [4, -1, 6] reshape { shape: [2, 2, -1, 2, 3] }"), tmp_path) == []


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_named(fault: str, tmp_path: Path) -> None:
    old, new, said = REFUSED[fault]
    text = GOOD.replace("dims: [3]", "dims: [1] reshape { }") if fault == "scalar" else GOOD
    assert old in text
    assert any(said in line for line in found(text.replace(old, new), tmp_path))
