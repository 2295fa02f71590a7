"""Operator set versions read from an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.onnx_header import LARGEST_OPSET, check_opsets

HUGE = 1 << 40


def model(opset: int = 18, function_opset: int = 18) -> Any:
    helper = pytest.importorskip("onnx").helper
    value = helper.make_tensor_value_info("x", 1, [1])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", function_opset)])
    graph = helper.make_graph([helper.make_node("f", ["x"], ["y"], domain="own")], "g", [value], [value])
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)


@pytest.mark.parametrize(
    ("opset", "function_opset", "refused"),
    [(18, 18, None), (LARGEST_OPSET, 1, None), (HUGE, 18, HUGE), (18, HUGE, HUGE), (-1, 18, (1 << 64) - 1)],
)
def test_opsets_of_the_model_and_its_functions(
    tmp_path: Path, opset: int, function_opset: int, refused: int | None
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(opset, function_opset).SerializeToString())
    if refused is None:
        check_opsets(path)
        return
    with pytest.raises(BadInput, match=f"model.onnx: opset {refused}: expected at most {LARGEST_OPSET}"):
        check_opsets(path)


def test_the_last_version_counts(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x42\x04\x10\x12\x10\x13")  # opset_import {version: 18, version: 19}
    check_opsets(path)
    path.write_bytes(b"\x42\x09\x10\x12\x10" + b"\x80\x80\x80\x80\x80\x01")
    with pytest.raises(BadInput, match="opset 34359738368"):
        check_opsets(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x42", b"\x42\x7f\x10", b"\x0b", b"\x09\x00", b"\x10\x80"])
def test_files_that_are_not_protocol_buffers_are_left_to_the_engine(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    check_opsets(path)


@pytest.mark.parametrize("opset", [HUGE, 18])
def test_openvino_is_not_given_an_impossible_opset(tmp_path: Path, opset: int) -> None:
    pytest.importorskip("openvino")
    from rectexport.runtime.engines.openvino_runner import OpenVinoRunner

    path = tmp_path / "model.onnx"
    path.write_bytes(model(opset).SerializeToString())
    if opset == HUGE:
        with pytest.raises(BadInput, match=f"opset {HUGE}"):
            OpenVinoRunner(path)
    else:
        OpenVinoRunner(path)
