"""Names of candidates."""

from __future__ import annotations

import pytest

from rectexport.runtime.tuning.candidate import Candidate


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (Candidate("fp32", "openvino", 1, 1, 1), "fp32, openvino, 1 thread, batch 1"),
        (Candidate("int8", "onnxruntime", 4, 2, 8), "int8, onnxruntime, 4 threads, 2 streams, batch 8"),
        (Candidate("fp32", "onnxruntime", 2, 1, 1, "plain"), "fp32, onnxruntime, 2 threads, batch 1, plain layout"),
        (Candidate("fp16", "tensorrt", 0, 1, 1, cuda_graphs=False), "fp16, tensorrt, batch 1"),
        (Candidate("fp16", "cuda", 0, 2, 8, cuda_graphs=True), "fp16, cuda, 2 streams, batch 8, CUDA graphs"),
    ],
)
def test_a_name_says_what_is_not_the_default(candidate: Candidate, name: str) -> None:
    assert candidate.key == name
